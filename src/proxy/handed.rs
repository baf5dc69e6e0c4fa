//! The listener that whoever started this process holds for it: systemd's socket activation (`sd_listen_fds(3)`). The
//! kernel's queue of new connections belongs to the socket and not to the process, so that it outlives a restart.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The name of the clients' socket where several are handed over.
const NAME: &str = "proxy";
/// More is no list of sockets.
const SOCKETS_MAX: usize = 64;

/// Sockets were handed over, but none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HandedOverError {
    /// Not a number of sockets.
    #[error("LISTEN_FDS: is not a number of sockets, for example LISTEN_FDS=1")]
    Count,
    /// Several sockets, and it is not said which.
    #[error(
        "LISTEN_FDNAMES: names none, or more than one, of {0} sockets `proxy`, for example \
         FileDescriptorName=proxy in the .socket unit"
    )]
    Which(usize),
    /// The descriptor is not there or no TCP socket.
    #[error("LISTEN_FDS: socket {0} is no TCP socket, for example ListenStream=8080 in the .socket unit")]
    Kind(usize, #[source] io::Error),
    /// It does not listen.
    #[error("LISTEN_FDS: socket {0} does not listen; with systemd it needs Accept=no")]
    Silent(usize),
}

/// Takes the clients' listener out of the environment; `None` where none was meant for this process. Call it once,
/// before the first thread is started: the variables are removed, so that no child takes them for its own.
///
/// # Errors
/// [`HandedOverError`] names the variable. Listening elsewhere instead would leave the queue without a reader.
pub fn handed_over() -> Result<Option<TcpListener>, HandedOverError> {
    let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (Some(count), names) = (text("LISTEN_FDS"), text("LISTEN_FDNAMES")) else { return Ok(None) };
    let count: usize =
        count.parse().ok().filter(|count| *count <= SOCKETS_MAX).ok_or(HandedOverError::Count)?;
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None); // none, or LISTEN_PID is another process
    }
    let place = which(count, names.as_deref())?;
    let wrong = |error| HandedOverError::Kind(place, error);
    let Some(listener) = sockets.take_tcp_listener(place).map_err(wrong)? else {
        return Err(HandedOverError::Count);
    };
    if !SockRef::from(&listener).is_listener().map_err(wrong)? {
        return Err(HandedOverError::Silent(place));
    }
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(Some(listener))
}

/// Which of `count` sockets is the clients': the only one, or the one with our name.
fn which(count: usize, names: Option<&str>) -> Result<usize, HandedOverError> {
    if count == 1 {
        return Ok(0);
    }
    let names = names.unwrap_or_default().split(':').take(count);
    let mut ours = names.enumerate().filter(|(_, name)| *name == NAME).map(|(place, _)| place);
    match (ours.next(), ours.next()) {
        (Some(place), None) => Ok(place),
        _ => Err(HandedOverError::Which(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_needs_no_name_and_of_several_one_has_ours() {
        assert_eq!(which(1, None).unwrap(), 0);
        assert_eq!(which(1, Some("crossfade.socket")).unwrap(), 0);
        assert_eq!(which(3, Some("other:proxy:more")).unwrap(), 1);
        for (count, names) in [
            (2, None),
            (2, Some("a:b")),
            (2, Some("proxy:proxy")),
            (2, Some("a:b:proxy")),
            (2, Some("proxy2")),
        ] {
            assert!(matches!(which(count, names), Err(HandedOverError::Which(2))), "{names:?}");
        }
    }
}
