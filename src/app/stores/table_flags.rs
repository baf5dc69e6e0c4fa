//! The table `crossfade_flags`: one row for the service, read through PostgREST, told by `postgres_changes`.
//!
//! What is told carries nothing that is believed: after it, as after a poll, the row is read. It is read as well when
//! the channel is joined and when Realtime says that the subscription stands, since a change in between is told to nobody.
//! Losing Realtime leaves the poll, losing PostgREST leaves the last good value.
//!
//! **Limits.** One Realtime connection with one channel for each pod. An answer of 256 KiB and a little; one question
//! each [`SPACING`] at most, however much is told.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderName, HeaderValue};
use http_body_util::Full;
use tokio::sync::mpsc;

use super::READ_MAX;
use super::desk::Desk;
use crate::app::line::{Line, secret_header};
use crate::app::ops::Word;
use crate::app::seed;
use crate::proxy::Target;
use crate::realtime::client::{self, Handle};
use crate::realtime::key::ApiKey;
use crate::realtime::link::{self, Changes, Join, LinkEvent, TopicNo};
use crate::rollout::row;
use crate::sinks::Reply;

const TABLE: &str = "crossfade_flags";
/// From dialling to the end of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two questions, whatever is told.
const SPACING: Duration = Duration::from_millis(100);
/// Between attempts while nothing answers: doubled up to the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Where the row is.
#[derive(Clone)]
pub(super) struct Place {
    /// Realtime, and PostgREST beside it.
    pub(super) link: link::Config,
    pub(super) url: url::Url,
    /// Read again when the key is refused or ends.
    pub(super) key_file: Option<PathBuf>,
    pub(super) service: String,
    /// Between polls.
    pub(super) poll: Duration,
}

impl Place {
    /// The place, where PostgREST stands beside Realtime.
    pub(super) fn new(
        link: link::Config,
        key_file: Option<PathBuf>,
        service: &str,
        poll: Duration,
    ) -> Option<Self> {
        let url = link.endpoint.rows(TABLE)?;
        Some(Self { link, url, key_file, service: service.to_owned(), poll })
    }

    /// The channel: private and under a topic that no policy opens to users.
    fn join(&self) -> Join {
        let changes = Changes {
            event: "*".to_owned(),
            schema: "public".to_owned(),
            table: TABLE.to_owned(),
            filter: Some(format!("service=eq.{}", self.service)),
        };
        let topic = format!("crossfade:{}:flags", self.service);
        Join { ack: false, changes: vec![changes], ..Join::new(&topic, true) }
    }
}

/// Follows the row for ever.
pub(super) async fn run(place: Place, mut desk: Desk, words: mpsc::Sender<Word>) {
    tokio::task::LocalSet::new()
        .run_until(async move {
            match Reader::new(&place) {
                Ok(reader) => follow(&place, reader, &mut desk, &words).await,
                Err(error) => desk.hear(None, Err(error), &words).await,
            }
        })
        .await;
}

async fn follow(place: &Place, mut reader: Reader, desk: &mut Desk, words: &mpsc::Sender<Word>) {
    let (mut told, shell) = client::start(client::Config::new(place.link.clone(), seed()));
    tokio::task::spawn_local(shell);
    if told.commands().try_join(TopicNo(0), place.join()).is_err() {
        tracing::error!("a fresh link takes no command (a bug)");
    }
    let mut pause = RETRY.0;
    loop {
        let (version, said) = reader.ask().await;
        let next = if reader.answered {
            pause = RETRY.0;
            place.poll
        } else {
            let now = pause;
            pause = (pause * 2).min(RETRY.1);
            now
        };
        desk.hear(version, said, words).await;
        tokio::time::sleep(SPACING).await;
        let poll = tokio::time::sleep(next);
        tokio::pin!(poll);
        loop {
            tokio::select! {
                event = told.next_event() => match event {
                    Some(event) => if calls_for_a_look(event, &mut reader, &told) {
                        break;
                    },
                    // The link has ended, which it does not: the poll is left.
                    None => {
                        (&mut poll).await;
                        break;
                    }
                },
                () = &mut poll => break,
            }
        }
        // What was told up to here is answered by one look.
        while let Some(event) = told.try_event() {
            calls_for_a_look(event, &mut reader, &told);
        }
    }
}

/// Whether the row may be another one now.
fn calls_for_a_look(event: LinkEvent, reader: &mut Reader, told: &Handle) -> bool {
    match event {
        // When told of nothing any more, too: what cannot be asked either must be seen to be so.
        LinkEvent::Change { .. } | LinkEvent::Joined { .. } | LinkEvent::Down { .. } => true,
        LinkEvent::System { reason: None, extension, .. } => extension == "postgres_changes",
        LinkEvent::System { reason: Some(reason), .. } | LinkEvent::GiveUp { reason, .. } => {
            tracing::warn!(
                reason = reason.as_str(),
                advice = reason.advice(),
                "changes of crossfade_flags are not told; they are found by polling"
            );
            false
        }
        LinkEvent::TokenExpiring { .. } => {
            if let Some(key) = reader.renew_key()
                && told.commands().try_set_key(key).is_err()
            {
                tracing::warn!(
                    "the link that tells changes was too busy to take the new key; it will ask again"
                );
            }
            false
        }
        _ => false,
    }
}

/// Asks PostgREST for the row.
struct Reader {
    line: Line,
    path: String,
    host: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    place: Place,
    /// Whether the last question had an answer that holds until something is told: a row, or that there is none.
    answered: bool,
}

impl Reader {
    fn new(place: &Place) -> Result<Self, String> {
        let target = Target::with_path(place.url.as_str()).map_err(|error| error.to_string())?;
        // A service's name needs no escapes: it is part of topics, too.
        let path = format!("{}?{}&service=eq.{}", target.path(), row::QUERY, place.service);
        let host = target.host_field();
        let body_max = usize::try_from(READ_MAX).unwrap_or(usize::MAX) + 1024;
        let line = Line::new(target, ANSWER_WITHIN)?.with_body_max(body_max);
        let mut reader =
            Self { line, path, host, headers: Vec::new(), place: place.clone(), answered: false };
        reader.set_key(&place.link.key);
        Ok(reader)
    }

    fn set_key(&mut self, key: &ApiKey) {
        let headers = self.place.link.endpoint.http_headers(key).into_iter();
        let headers = headers.filter(|(name, _)| *name != "host");
        self.headers = headers.filter_map(|(name, value)| secret_header(name, &value)).collect();
    }

    /// The key of the file, where it came from one; taken for the next question.
    fn renew_key(&mut self) -> Option<ApiKey> {
        let path = self.place.key_file.as_ref()?;
        let key = crate::config::read_secret_file(path).ok().map(|secret| ApiKey::new(secret.expose()))?;
        self.set_key(&key);
        Some(key)
    }

    /// The row's version and document, or why there is none.
    async fn ask(&mut self) -> (Option<u64>, Result<Vec<u8>, String>) {
        let reply = self.get().await;
        if matches!(reply, Reply::Answer { status: 401, .. }) {
            self.renew_key();
        }
        let row = judged(&reply);
        self.answered = matches!(reply, Reply::Answer { status: 200, .. });
        match row {
            Ok((version, document)) => (Some(version), Ok(document)),
            Err(error) => (None, Err(error)),
        }
    }

    async fn get(&mut self) -> Reply {
        let mut request = Request::get(self.path.as_str()).header(HOST, &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.body(Full::new(Bytes::new())) {
            Ok(request) => self.line.ask(request).await,
            Err(_) => Reply::Unknown,
        }
    }
}

/// The row in an answer, or what to do about it. The server's words are not repeated.
fn judged(reply: &Reply) -> Result<(u64, Vec<u8>), String> {
    let Reply::Answer { status, body, .. } = reply else {
        return Err("PostgREST does not answer".to_owned());
    };
    match status {
        200 => row::read(body.as_bytes()).map_err(|error| error.to_string()),
        401 | 403 => Err(format!(
            "PostgREST answers {status}: SUPABASE_KEY must be service_role's or a JWT of role crossfade_mirror"
        )),
        404 => Err("PostgREST answers 404: apply deploy/supabase/migrations".to_owned()),
        _ => Err(format!("PostgREST answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_a_row_or_says_what_to_do() {
        let answer =
            |status, body: &str| judged(&Reply::Answer { status, retry_after: None, body: body.to_owned() });
        assert_eq!(answer(200, r#"[{"version":3,"document":{}}]"#), Ok((3, b"{}".to_vec())));
        assert!(answer(200, "[]").unwrap_err().contains("no row"));
        assert!(answer(200, "").unwrap_err().contains("not an array"), "too long a body is empty");
        assert!(answer(401, "secret words").unwrap_err().contains("SUPABASE_KEY"));
        assert!(answer(404, "").unwrap_err().contains("migrations"));
        assert_eq!(answer(502, "<html>secret"), Err("PostgREST answers 502".to_owned()));
        assert_eq!(judged(&Reply::Unknown), Err("PostgREST does not answer".to_owned()));
    }

    #[test]
    fn the_row_of_the_service_is_asked_for_and_told() {
        let endpoint = crate::realtime::url::Endpoint::parse("https://ref.supabase.co").unwrap();
        let link = link::Config::new(endpoint, ApiKey::new("key"));
        let place = Place::new(link, None, "shop", Duration::from_secs(10)).unwrap();
        let reader = Reader::new(&place).unwrap();
        assert_eq!(reader.path, "/rest/v1/crossfade_flags?select=version,document&limit=2&service=eq.shop");
        let join = place.join();
        assert!(join.private && !join.ack);
        assert_eq!(join.changes[0].filter.as_deref(), Some("service=eq.shop"));
        let bare = crate::realtime::url::Endpoint::parse("http://127.0.0.1:4000/socket").unwrap();
        let link = link::Config::new(bare, ApiKey::new("key"));
        assert!(Place::new(link, None, "shop", Duration::from_secs(10)).is_none(), "no PostgREST beside it");
    }
}
