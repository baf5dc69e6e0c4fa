//! The asking thread: one join with one user's token at a time, on a socket of its own, as a native client would do it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::app::seed;
use crate::realtime::client::{self, Handle};
use crate::realtime::key::{ApiKey, KeyKind, Role};
use crate::realtime::link::{self, Join, LinkEvent, TopicNo};
use crate::realtime::reason::{Cause, Reason};
use crate::tap::TokenRef;
use crate::validator::parity::{Standing, Unknown};

/// An answer is waited for so long: 5 s for a refusal, up to 15 s for a project that was asleep.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// A goodbye is waited for so long.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// One thing to ask.
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) topic: Arc<str>,
    pub(super) token: TokenRef,
}

/// Starts the thread. It ends when the other ends of both queues are dropped, whatever it is waiting for.
pub(super) fn start(
    link: link::Config,
    mut asked: mpsc::Receiver<Asked>,
    answers: mpsc::Sender<(u64, Standing)>,
) -> std::io::Result<()> {
    let runtime = crate::app::behind::runtime()?;
    let life = move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            while let Some(one) = asked.recv().await {
                let id = one.id;
                let standing = tokio::select! {
                    standing = ask(&link, one) => standing,
                    () = answers.closed() => return,
                };
                if answers.send((id, standing)).await.is_err() {
                    return;
                }
            }
        });
    };
    std::thread::Builder::new().name("parity".to_owned()).spawn(life).map(drop)
}

/// Asks whether the token's owner may read the topic.
async fn ask(link: &link::Config, asked: Asked) -> Standing {
    let Some(text) = asked.token.reveal() else { return Standing::Unknown(Unknown::Gone) };
    let token = ApiKey::new(&text);
    drop(text);
    if let Some(why) = unusable(&token, unix_secs()) {
        return Standing::Unknown(why);
    }
    let link = link::Config { token: Some(token), ..link.clone() };
    let (mut handle, shell) = client::start(client::Config::new(link, seed()));
    let join = Join { ack: false, ..Join::new(&asked.topic, true) };
    if handle.commands().try_join(TopicNo(0), join).is_err() {
        return Standing::Unknown(Unknown::Link);
    }
    let shell = tokio::task::spawn_local(shell);
    let standing = tokio::time::timeout(ANSWER_WITHIN, heard(&mut handle)).await;
    // The token ends with the link; a server that does not let go of the socket changes nothing about that.
    drop(handle);
    let ending = shell.abort_handle();
    if tokio::time::timeout(GOODBYE_WITHIN, shell).await.is_err() {
        ending.abort();
    }
    standing.unwrap_or(Standing::Unknown(Unknown::Link))
}

/// Why there is no need to ask with this token. A key that is no JWT would be left out of the join, and Realtime would
/// then answer for the public key.
fn unusable(token: &ApiKey, unix_secs: u64) -> Option<Unknown> {
    match token.kind() {
        KeyKind::Jwt(claims) if claims.exp <= unix_secs => Some(Unknown::Expired),
        KeyKind::Jwt(claims) if claims.role == Role::ServiceRole => Some(Unknown::Role),
        KeyKind::Jwt(_) => None,
        KeyKind::Publishable | KeyKind::Secret | KeyKind::Malformed(_) => Some(Unknown::Token),
    }
}

/// Waits for the first thing that is an answer.
async fn heard(handle: &mut Handle) -> Standing {
    loop {
        match handle.next_event().await {
            Some(LinkEvent::Joined { .. }) => return Standing::Allowed,
            Some(LinkEvent::Left { reason, .. } | LinkEvent::GiveUp { topic: Some(_), reason }) => {
                return standing(reason);
            }
            // The socket is opened with our key: what ends it says nothing about the user.
            Some(LinkEvent::Down { reason, .. }) if reason.cause() == Cause::Quota => {
                return Standing::Unknown(Unknown::Quota);
            }
            Some(LinkEvent::Down { .. } | LinkEvent::GiveUp { topic: None, .. }) | None => {
                return Standing::Unknown(Unknown::Link);
            }
            Some(_) => {}
        }
    }
}

/// What the reason of a join that was not granted says about the user. Only one of them is a refusal.
fn standing(reason: Reason) -> Standing {
    let why = match reason {
        Reason::Unauthorized => return Standing::Refused,
        Reason::TokenExpired => Unknown::Expired,
        Reason::TokenMalformed
        | Reason::TokenSignature
        | Reason::TokenSigner
        | Reason::TokenClaims
        | Reason::KeyMissing => Unknown::Token,
        Reason::TopicName => Unknown::Topic,
        other if other.cause() == Cause::Quota => Unknown::Quota,
        _ => Unknown::Link,
    };
    Standing::Unknown(why)
}

#[expect(clippy::disallowed_methods, reason = "tokens expire by the wall clock")]
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{Claims, Secret};

    #[test]
    fn only_the_want_of_a_policy_is_a_refusal() {
        for reason in Reason::ALL {
            let refused = standing(reason) == Standing::Refused;
            assert_eq!(refused, reason == Reason::Unauthorized, "{}", reason.as_str());
        }
        assert_eq!(standing(Reason::TokenExpired), Standing::Unknown(Unknown::Expired));
        assert_eq!(standing(Reason::TooManyJoins), Standing::Unknown(Unknown::Quota));
    }

    #[test]
    fn what_is_no_users_token_is_never_asked_with() {
        let mint = |role: &str, exp| ApiKey::new(&Secret::new("tests only").mint(&Claims::of(role, exp)));
        let of = |key: &ApiKey| unusable(key, 1_000);
        assert_eq!(of(&mint("authenticated", 1_001)), None);
        assert_eq!(of(&mint("authenticated", 1_000)), Some(Unknown::Expired));
        assert_eq!(of(&mint("service_role", 1_001)), Some(Unknown::Role));
        for text in ["sb_publishable_x", "sb_secret_x", "opaque", "a.b.c", ""] {
            assert_eq!(of(&ApiKey::new(text)), Some(Unknown::Token), "{text}");
        }
    }
}
