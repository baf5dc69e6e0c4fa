//! Happy eyeballs (RFC 8305): the addresses of a name are tried one after the other, each with a head start, and the
//! first that answers wins. One address or family that is dead costs a quarter of a second, not the deadline.
//! Both families come from one call of the resolver, which waits for both, so there is no resolution delay to keep.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::error::{ConnectionError, Fault};

/// RFC 8305 section 5: the recommended head start.
const HEAD_START: Duration = Duration::from_millis(250);
/// Descriptors that one connection may cost while it is made.
pub(super) const ADDRESSES_MAX: usize = 16;

/// Every address that was tried, and what came of it.
#[derive(Debug)]
struct Tried(Vec<(SocketAddr, Option<io::Error>)>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (address, error)) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { "; " };
            match error {
                Some(error) => write!(f, "{gap}{address}: {error}")?,
                None => write!(f, "{gap}{address}: no answer in time")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Tried {}

/// The families in turn, beginning with that of the first address, each in its own order (RFC 8305 section 4).
fn interleave(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::new();
    while let Some(next) = one.pop_front() {
        order.push_back(next);
        std::mem::swap(&mut one, &mut other);
        if one.is_empty() {
            std::mem::swap(&mut one, &mut other);
        }
    }
    order.truncate(ADDRESSES_MAX);
    order
}

/// Connects to the first address that accepts, at the latest at `by`.
///
/// # Errors
/// [`Fault::Resolve`] without an address; [`Fault::ConnectTimeout`] if time was up, or every address let it pass;
/// [`Fault::ConnectRefused`] otherwise. The cause names each address.
pub(super) async fn connect(addresses: &[SocketAddr], by: Instant) -> Result<TcpStream, ConnectionError> {
    let mut waiting = interleave(addresses);
    if waiting.is_empty() {
        return Err(ConnectionError::new(Fault::Resolve, "the name has no address"));
    }
    // A short deadline shares itself out, so that the last address has its turn too.
    let shares = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    let head_start = HEAD_START.min(by.saturating_duration_since(Instant::now()) / shares);
    let mut attempts = FuturesUnordered::new();
    let (mut under_way, mut failed) = (Vec::new(), Vec::new());
    let mut next_at = Instant::now();
    loop {
        let more = !waiting.is_empty();
        tokio::select! {
            biased;
            Some((address, result)) = attempts.next() => match result {
                Ok(tcp) => return Ok(tcp),
                Err(error) => {
                    under_way.retain(|other| *other != address);
                    failed.push((address, Some(error)));
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if more => {
                if let Some(address) = waiting.pop_front() {
                    under_way.push(address);
                    attempts.push(async move { (address, TcpStream::connect(address).await) });
                }
                next_at = Instant::now() + head_start;
            }
            () = sleep_until(by) => {
                failed.extend(under_way.into_iter().map(|address| (address, None)));
                return Err(ConnectionError::new(Fault::ConnectTimeout, Tried(failed)));
            }
        }
        if attempts.is_empty() && waiting.is_empty() {
            let late = |(_, error): &(_, Option<io::Error>)| {
                error.as_ref().is_none_or(|error| error.kind() == io::ErrorKind::TimedOut)
            };
            let fault = if failed.iter().all(late) { Fault::ConnectTimeout } else { Fault::ConnectRefused };
            return Err(ConnectionError::new(fault, Tried(failed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn closed() -> SocketAddr {
        listener().1
    }

    /// An address that neither accepts nor refuses, as long as what comes with it lives.
    fn dead() -> (SocketAddr, impl Drop) {
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let filler = std::net::TcpStream::connect(address).unwrap();
        (
            address,
            Box::<[Box<dyn std::any::Any>]>::from([Box::new(full) as _, Box::new(filler) as _]).into_vec(),
        )
    }

    #[test]
    fn the_families_take_turns_and_nobody_is_left_out() {
        let check = |given: &[&str], expect: &[&str]| {
            let parse =
                |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
            assert_eq!(Vec::from(interleave(&parse(given))), parse(expect), "{given:?}");
        };
        let (a, b, c) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
        let (x, y) = ("[::1]:1", "[::2]:1");
        check(&[], &[]);
        check(&[a], &[a]);
        check(&[x, y, a, b, c], &[x, a, y, b, c]);
        check(&[a, b, c, x], &[a, x, b, c]);
        check(&[a, x, y], &[a, x, y]);
        let many: Vec<SocketAddr> = (0..100).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        assert_eq!(interleave(&many).len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let (_open, address) = listener();
        let (one, other) = (closed(), closed());
        let by = Instant::now() + Duration::from_secs(30);
        let tcp = connect(&[one, address], by).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
        let error = connect(&[one, other], by).await.unwrap_err();
        assert_eq!(error.fault, Fault::ConnectRefused);
        let text = error.to_string();
        assert!(text.contains(&one.to_string()) && text.contains(&other.to_string()), "{text}");
        assert_eq!(connect(&[], by).await.unwrap_err().fault, Fault::Resolve);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_use_up_the_time_of_the_next() {
        let (dead, _held) = dead();
        let (_open, address) = listener();
        let by = Instant::now() + Duration::from_secs(30);
        let tcp = connect(&[dead, address], by).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn when_time_is_up_every_address_is_named() {
        let (dead, _held) = dead();
        let refuses = closed();
        let by = Instant::now() + Duration::from_millis(50);
        let error = connect(&[dead, refuses], by).await.unwrap_err();
        assert_eq!(error.fault, Fault::ConnectTimeout);
        let text = error.to_string();
        assert!(text.contains(&format!("{dead}: no answer in time")), "{text}");
        assert!(text.contains(&refuses.to_string()), "{text}");
    }
}
