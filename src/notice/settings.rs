//! The section `[notices]` of the tuning file.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use super::{Format, Kind, Template};

/// Targets of one process.
pub const TARGETS_MAX: usize = 8;
/// A state must have lasted at most so long before it is told.
const SETTLE_MAX: Duration = Duration::from_secs(60 * 60);
const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30 * 24 * 60 * 60));

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    #[serde(default)]
    states: Option<Vec<Kind>>,
    #[serde(default)]
    settle: Option<String>,
    targets: Vec<TargetText>,
    #[serde(default)]
    links: Option<LinksText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetText {
    name: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    template: Option<String>,
    #[serde(default)]
    plain_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksText {
    base_url: String,
    secret_file: PathBuf,
    #[serde(default)]
    ttl: Option<String>,
}

/// Where the URL of a target is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Url(String),
    /// In a file.
    File(PathBuf),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url(***)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the log calls it.
    pub name: String,
    /// Where its URL is.
    pub place: Place,
    /// `http` is allowed, to addresses nearby.
    pub plain_http: bool,
    /// How it wants it.
    pub format: Format,
}

impl Target {
    /// Checks its URL. What is wrong never quotes it: it is a secret.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, url: &str) -> Result<(), String> {
        reachable(url, self.plain_http).map_err(|why| format!("notices.targets {:?}: {why}", self.name))
    }
}

/// How people answer.
#[derive(Clone, Debug)]
pub struct Links {
    /// Where they reach the admin listener, without a slash at its end.
    pub base_url: String,
    /// Its host, and its port where the URL names one.
    pub host: String,
    /// The secret.
    pub secret_file: PathBuf,
    /// How long a link can be used.
    pub ttl: Duration,
}

/// The section, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is told.
    pub states: Vec<Kind>,
    /// How long a state must have lasted.
    pub settle: Duration,
    /// To whom.
    pub targets: Vec<Target>,
    /// With links.
    pub links: Option<Links>,
}

impl Section {
    /// Checks it. Nothing is read from files here.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(self) -> Result<Settings, String> {
        if self.targets.is_empty() || self.targets.len() > TARGETS_MAX {
            return Err(format!("notices.targets: from 1 to {TARGETS_MAX} of them"));
        }
        let settle = self.settle.as_deref().map(|text| {
            let wrong = "notices.settle: is not a time up to 1h, for example settle = \"5s\"";
            humantime::parse_duration(text).ok().filter(|span| *span <= SETTLE_MAX).ok_or(wrong)
        });
        let targets = self.targets.into_iter().map(TargetText::check).collect::<Result<Vec<_>, _>>()?;
        let twice = |target: &Target| targets.iter().filter(|other| other.name == target.name).count() > 1;
        if let Some(target) = targets.iter().find(|target| twice(target)) {
            return Err(format!("notices.targets: two are named {:?}", target.name));
        }
        let usual = || Kind::ALL.into_iter().filter(|kind| kind.is_usual()).collect();
        Ok(Settings {
            states: self.states.unwrap_or_else(usual),
            settle: settle.transpose()?.unwrap_or(Duration::from_secs(5)),
            targets,
            links: self.links.map(LinksText::check).transpose()?,
        })
    }
}

impl TargetText {
    fn check(self) -> Result<Target, String> {
        let name = self.name;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 40 || !name.chars().all(word) {
            return Err("notices.targets: a name has 1 to 40 letters, digits, - or _, for example \"team\""
                .to_owned());
        }
        let at = |why: String| format!("notices.targets {name:?}: {why}");
        let place = match (self.url, self.url_file) {
            (Some(url), None) => Place::Url(url),
            (None, Some(file)) => Place::File(file),
            _ => return Err(at("give either url or url_file".to_owned())),
        };
        let format = match (self.format, self.template) {
            (None, None) => Format::Json,
            (Some(format), None) => {
                Format::named(&format).map_err(|why| at(format!("format {format:?} {why}")))?
            }
            (None, Some(template)) => {
                Format::Own(Template::parse(&template).map_err(|why| at(format!("template {why}")))?)
            }
            (Some(_), Some(_)) => return Err(at("give either format or template".to_owned())),
        };
        let target = Target { name, place, plain_http: self.plain_http, format };
        if let Place::Url(url) = &target.place {
            target.check(url)?;
        }
        Ok(target)
    }
}

impl LinksText {
    fn check(self) -> Result<Links, String> {
        let at = |why: &str| format!("notices.links.base_url: {why}");
        reachable(&self.base_url, true).map_err(|why| at(&why))?;
        let url = Url::parse(&self.base_url).map_err(|_| at("is not a URL"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(at("has a query or a fragment; for example https://crossfade.example.com"));
        }
        let name = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let wrong = "notices.links.ttl: is not a time from 1m to 30days, for example ttl = \"24h\"";
        let ttl = self.ttl.as_deref().map(|text| {
            let span = humantime::parse_duration(text).ok();
            span.filter(|span| (TTL.0..=TTL.1).contains(span)).ok_or(wrong)
        });
        Ok(Links {
            base_url: self.base_url.trim_end_matches('/').to_owned(),
            host,
            secret_file: self.secret_file,
            ttl: ttl.transpose()?.unwrap_or(Duration::from_secs(24 * 60 * 60)),
        })
    }
}

/// A text without what follows the scheme of a URL in it: a webhook's URL is a secret.
#[must_use]
pub fn without_urls(text: &str) -> String {
    let mut pieces = text.split("://");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = |c: char| c.is_whitespace() || c == '"' || c == '\'';
        out.push_str("://***");
        out.push_str(piece.find(end).and_then(|at| piece.get(at..)).unwrap_or_default());
    }
    out
}

/// `https`, or `http` to an address nearby where that was allowed.
fn reachable(url: &str, plain_http: bool) -> Result<(), String> {
    let url = Url::parse(url.trim()).map_err(|_| "its URL is none".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL has a user or a password, which would not be used".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if !plain_http => {
            Err("its URL is http; use https, or plain_http = true for an address in the cluster".to_owned())
        }
        "http" if is_near(&url) => Ok(()),
        "http" => {
            Err("its URL is http to an address that is neither loopback nor in the cluster; use https"
                .to_owned())
        }
        _ => Err("its URL is neither https nor http".to_owned()),
    }
}

/// Loopback, private, or a name that only a cluster resolves.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(Host::Ipv6(ip)) => {
            IpAddr::V6(ip).is_loopback() || (ip.segments().first().unwrap_or(&0) & 0xfe00) == 0xfc00
        }
        Some(Host::Domain(name)) => {
            !name.contains('.') || name.ends_with(".svc") || name.ends_with(".cluster.local")
        }
        None => false,
    }
}
