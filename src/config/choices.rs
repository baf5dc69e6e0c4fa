//! Parsers of words: closed choices, names, texts.
//! Each choice is an enum with one word per variant; the words are the interface.

use tracing_subscriber::EnvFilter;

use super::numbers::Percent;
use super::var::{Value, choose};

/// The lane of the cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutLane {
    /// Legacy messages wait for their way through Realtime.
    Hot,
    /// A Realtime topic, in the service's place.
    Cold,
    /// The upgrade goes to Supabase itself.
    Native,
}

impl Value for RolloutLane {
    const KIND: &'static str = "hot | cold | native";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("hot", Self::Hot), ("cold", Self::Cold), ("native", Self::Native)])
    }
}

/// Who lets clients onto the cold lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdAuth {
    /// Their token, verified here; it joins the channel.
    Jwt,
    /// The service, asked with the same upgrade.
    Upstream,
    /// Nobody.
    Public,
}

impl Value for ColdAuth {
    const KIND: &'static str = "jwt | upstream | public";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("jwt", Self::Jwt), ("upstream", Self::Upstream), ("public", Self::Public)])
    }
}

/// What is read back. Whatever a hot session awaits always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readback {
    /// Everything that is mirrored.
    All,
    /// What a hot session awaits.
    Hot,
    /// This share of the sessions, too.
    Sample(Percent),
}

impl Value for Readback {
    const KIND: &'static str = "all | hot | sample:PERCENT";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(share) = text.strip_prefix("sample:") {
            return Percent::parse(share).map(Self::Sample).map_err(|why| format!("has a share that {why}"));
        }
        choose(text, &[("all", Self::All), ("hot", Self::Hot)])
            .map_err(|_| "is neither all, hot nor sample:PERCENT".to_owned())
    }
}

/// Directions that are redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redact {
    /// What clients send.
    Up,
    /// Both directions.
    Both,
    /// Nothing.
    Off,
}

impl Value for Redact {
    const KIND: &'static str = "up | both | off";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("up", Self::Up), ("both", Self::Both), ("off", Self::Off)])
    }
}

/// Who holds the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerMode {
    /// Its own triggers.
    Auto,
    /// A person: Realtime may not be used.
    ForcedOpen,
    /// A person: Realtime is used whatever happens.
    ForcedClosed,
    /// Triggers are counted and do nothing.
    ObserveOnly,
}

impl Value for BreakerMode {
    const KIND: &'static str = "auto | forced_open | forced_closed | observe_only";

    fn parse(text: &str) -> Result<Self, String> {
        let words = [
            ("auto", Self::Auto),
            ("forced_open", Self::ForcedOpen),
            ("forced_closed", Self::ForcedClosed),
            ("observe_only", Self::ObserveOnly),
        ];
        choose(text, &words)
    }
}

/// The Phoenix serializer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vsn {
    /// JSON objects.
    V1,
    /// JSON arrays and binary pushes.
    V2,
}

impl Value for Vsn {
    const KIND: &'static str = "1.0.0 | 2.0.0";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("1.0.0", Self::V1), ("2.0.0", Self::V2)])
    }
}

/// Classes that also go into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// None.
    Off,
    /// `critical`.
    Critical,
    /// `critical` and `high`.
    High,
    /// Every class.
    All,
}

impl Value for Table {
    const KIND: &'static str = "off | critical | high | all";

    fn parse(text: &str) -> Result<Self, String> {
        let words =
            [("off", Self::Off), ("critical", Self::Critical), ("high", Self::High), ("all", Self::All)];
        choose(text, &words)
    }
}

/// What is published of a mirrored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorFormat {
    /// Its envelope.
    Messages,
    /// Its envelope, and an event where a rule gives it a topic.
    Both,
}

impl Value for MirrorFormat {
    const KIND: &'static str = "messages | both";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "events" {
            return Err(
                "is not offered alone: an event proves nothing, the envelope does; say both".to_owned()
            );
        }
        choose(text, &[("messages", Self::Messages), ("both", Self::Both)])
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Value for LogFormat {
    const KIND: &'static str = "json | text";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("json", Self::Json), ("text", Self::Text)])
    }
}

/// A log filter that the subscriber accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Value for LogFilter {
    const KIND: &'static str = "log filter";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "is not a level (error, warn, info, debug, trace) or a list of target=level".to_owned();
        // A bare word would be taken for a target and switch the whole log off.
        let level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
        if text.split(',').any(|part| !part.contains(['=', '[']) && !level(part.trim())) {
            return Err(wrong());
        }
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|_| wrong())
    }
}

/// A part of a topic name: 1 to 63 letters, digits, `.`, `_`, `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

const NAME_MAX: usize = 63;

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl Name {
    /// A host name made fit for topics; `pod` where there is none.
    #[must_use]
    pub fn of_host(host: Option<&str>) -> String {
        let fit = |c: char| if is_name_char(c) { c } else { '-' };
        let name: String = host.unwrap_or_default().trim().chars().take(NAME_MAX).map(fit).collect();
        if name.is_empty() { "pod".to_owned() } else { name }
    }
}

impl Value for Name {
    const KIND: &'static str = "name";

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() <= NAME_MAX && text.chars().all(is_name_char) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("is not a name of at most {NAME_MAX} letters, digits, '.', '_' and '-'"))
    }
}

/// Any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Value for Text {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}
