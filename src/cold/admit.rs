//! Who is let in, and onto which topic: decided from the head of the upgrade alone.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use url::form_urlencoded;

use super::token::{BadToken, Keys, Verified};

/// Realtime's topics are of 255 bytes, `realtime:` included.
const TOPIC_BYTES_MAX: usize = 246;
/// Our own private topics: no client gets on one, whatever its path says.
const OURS: &str = "crossfade:";
/// Places where a token is looked for.
const PLACES_MAX: usize = 8;

/// Who decides about a client.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Its token, verified here with these keys; it joins the channel.
    Jwt(Keys),
    /// The service, asked with the same upgrade. The anon key joins.
    Upstream,
    /// Nobody. The anon key joins.
    Public,
}

/// Where the messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Broadcasts of a topic.
    Topic(Template),
    /// Rows that are inserted into this table; what clients say is broadcast on `table:NAME`.
    Table(String),
}

/// A topic with places for what the upgrade says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The path without its first slash.
    Path,
    /// The token's subject.
    Sub,
    Query(String),
}

impl Source {
    /// Reads `CROSSFADE_COLD_SOURCE`.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("table:") {
            let fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let named = (1..=63).contains(&name.len()) && name.chars().all(fit);
            return if named {
                Ok(Self::Table(name.to_owned()))
            } else {
                Err("is no table:NAME with letters, digits and _".to_owned())
            };
        }
        Template::parse(text).map(Self::Topic)
    }

    /// Whether the topic depends on who asks: then there must be a token.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        matches!(self, Self::Topic(template) if template.0.contains(&Piece::Sub))
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| "has a { without its }".to_owned())?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match (name, name.strip_prefix("query:")) {
                ("path", _) => Piece::Path,
                ("sub", _) => Piece::Sub,
                (_, Some(name)) if !name.is_empty() => Piece::Query(name.to_owned()),
                _ => return Err("has a place that is none of {path}, {sub} and {query:NAME}".to_owned()),
            });
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let text_only = text.len() > TOPIC_BYTES_MAX || text.starts_with(OURS) || text.is_empty();
        if text_only {
            return Err("is empty, too long, or begins with crossfade:".to_owned());
        }
        Ok(Self(pieces))
    }

    fn topic(&self, asked: &Asked<'_>, who: Option<&Verified>) -> Option<String> {
        let mut topic = String::new();
        for piece in &self.0 {
            let part = match piece {
                Piece::Text(text) => text.clone(),
                Piece::Path => asked.path.trim_start_matches('/').to_owned(),
                Piece::Sub => who?.sub.clone()?,
                Piece::Query(name) => asked.query(name)?,
            };
            if part.is_empty() || part.chars().any(char::is_control) {
                return None;
            }
            topic.push_str(&part);
        }
        (topic.len() <= TOPIC_BYTES_MAX && !topic.starts_with(OURS)).then_some(topic)
    }
}

/// One place where a token may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `Authorization: Bearer`, or another field whole.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

impl Place {
    /// Reads `header:NAME`, `cookie:NAME` or `query:NAME`.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a place for a token is header:NAME, cookie:NAME or query:NAME".to_owned();
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
        match kind {
            "header" => name.parse().map(Self::Header).map_err(|_| wrong()),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

/// Which pages may connect. Browsers send `Origin` and cannot be made to lie about it; other clients need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages of the host that is asked, and clients that are no browsers.
    Same,
    /// These, and clients that are no browsers.
    Listed(Vec<String>),
    /// Any: for public data alone.
    Any,
}

impl Origins {
    fn allow(&self, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(ORIGIN).iter();
        let (first, more) = (named.next(), named.next());
        let Some(origin) = first else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        if more.is_some() {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Listed(list) => list.iter().any(|one| one.eq_ignore_ascii_case(origin)),
            Self::Same => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let page = origin.split_once("://").map(|(_, page)| page);
                page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// The head of an upgrade, as far as it counts here.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The path.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: &'a str,
    /// The fields.
    pub headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn query(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn token(&self, places: &[Place]) -> Option<String> {
        let one = |place: &Place| match place {
            Place::Header(name) => {
                let text = self.headers.get(name)?.to_str().ok()?;
                match text.split_once(' ') {
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                        Some(token.trim().to_owned())
                    }
                    _ if name == AUTHORIZATION => None,
                    _ => Some(text.to_owned()),
                }
            }
            Place::Cookie(name) => self.headers.get_all(COOKIE).iter().find_map(|line| {
                let pairs = line.to_str().ok()?.split(';');
                let mut found = pairs.filter_map(|pair| pair.trim().split_once('='));
                found.find(|(key, _)| key == name).map(|(_, value)| value.trim_matches('"').to_owned())
            }),
            Place::Query(name) => self.query(name),
        };
        places.iter().take(PLACES_MAX).filter_map(one).find(|token| !token.is_empty())
    }

    /// Whether the client says at once that it wants presence: a subprotocol `presence` or `presence.…`, or a query
    /// parameter `presence` that is not off.
    fn wants_presence(&self) -> bool {
        let lines = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let names = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let offered = |name: &str| name == "presence" || name.starts_with("presence.");
        let asked =
            self.query("presence").is_some_and(|word| !matches!(word.as_str(), "" | "0" | "false" | "off"));
        asked || names.map(str::trim).any(offered)
    }

    /// The client's first choice, which the lane speaks: it takes the service's place.
    #[must_use]
    pub fn subprotocol(&self) -> Option<String> {
        let line = self.headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
        line.split(',').map(str::trim).find(|name| !name.is_empty()).map(str::to_owned)
    }
}

/// Who gets in by what.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who decides.
    pub auth: Auth,
    /// Which pages may connect.
    pub origins: Origins,
    /// Where a token is looked for.
    pub places: Vec<Place>,
    /// Where messages come from.
    pub source: Source,
}

/// A client that gets in.
#[derive(Clone, PartialEq, Eq)]
pub struct Guest {
    /// What it joins with, where it has a token of its own.
    pub token: Option<String>,
    /// Until when, in seconds since 1970.
    pub exp: Option<u64>,
    /// The topic that it is fed from, without `realtime:`.
    pub topic: String,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guest(***)")
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its page is not on the list.
    Origin,
    /// It wants presence, which the lane does not have.
    Presence,
    /// It has no token that is accepted.
    Token(BadToken),
    /// No topic comes of its upgrade: a part is missing, or it would be one of ours.
    Topic,
}

impl Rules {
    /// Lets a client in, at `now` in seconds since 1970. With [`Auth::Upstream`] the service must have agreed before.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, asked: &Asked<'_>, now: u64) -> Result<Guest, Refusal> {
        if !self.origins.allow(asked.headers) {
            return Err(Refusal::Origin);
        }
        if asked.wants_presence() {
            return Err(Refusal::Presence);
        }
        let (token, who) = match &self.auth {
            Auth::Upstream | Auth::Public => (None, None),
            Auth::Jwt(keys) => {
                let token = asked.token(&self.places).unwrap_or_default();
                let who = keys.verify(&token, now).map_err(Refusal::Token)?;
                (Some(token), Some(who))
            }
        };
        let topic = match &self.source {
            Source::Table(name) => Some(format!("table:{name}")),
            Source::Topic(template) => template.topic(asked, who.as_ref()),
        };
        let topic = topic.ok_or(Refusal::Topic)?;
        Ok(Guest { token, exp: who.map(|who| who.exp), topic })
    }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
