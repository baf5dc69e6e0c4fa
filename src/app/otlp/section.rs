//! The section `[otlp]` of the tuning file, and the file with the collector's request fields.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::proxy::Target;
use crate::spans::{Limits, Sampler};

/// Where OTLP/HTTP wants traces, behind the endpoint's own path.
const TRACES: &str = "/v1/traces";
const QUEUE_MAX: usize = 65_536;
const BATCH_MAX: usize = 4_096;
const TIMEOUT_SECONDS_MAX: u64 = 60;
const DELAY_MS_MAX: u64 = 60_000;
/// Attributes of the resource besides ours, and the longest of their texts.
const RESOURCE_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 256;
/// Fields in the file, and its size.
const FIELDS_MAX: usize = 16;
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Fields that are ours to set.
const OURS: [HeaderName; 5] = [HOST, CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct Section {
    endpoint: String,
    headers_file: Option<PathBuf>,
    #[serde(default = "usual_ratio")]
    sample_ratio: f64,
    #[serde(default = "usual_timeout")]
    timeout_seconds: u64,
    #[serde(default = "usual_queue")]
    queue: usize,
    #[serde(default = "usual_batch")]
    batch: usize,
    #[serde(default = "usual_delay")]
    delay_ms: u64,
    service_name: Option<String>,
    #[serde(default)]
    resource: BTreeMap<String, String>,
}

const fn usual_ratio() -> f64 {
    0.01
}

const fn usual_timeout() -> u64 {
    10
}

const fn usual_queue() -> usize {
    2_048
}

const fn usual_batch() -> usize {
    512
}

const fn usual_delay() -> u64 {
    5_000
}

/// Checked.
#[derive(Clone, Debug)]
pub(in crate::app) struct Settings {
    pub(super) target: Target,
    /// Of the request.
    pub(super) path: String,
    pub(super) headers_file: Option<PathBuf>,
    ratio: f64,
    pub(super) timeout: Duration,
    pub(super) queue: usize,
    pub(super) limits: Limits,
    service_name: Option<String>,
    resource: BTreeMap<String, String>,
}

impl Section {
    /// Checks it.
    ///
    /// # Errors
    /// A sentence that says what is wrong. It does not repeat the endpoint, which might hold a password.
    pub(in crate::app) fn check(self) -> Result<Settings, String> {
        if !["http://", "https://"].iter().any(|scheme| self.endpoint.starts_with(scheme)) {
            return Err("otlp.endpoint: not a URL such as http://127.0.0.1:4318 or https://HOST".to_owned());
        }
        let target = Target::with_path(&self.endpoint).map_err(|error| format!("otlp.endpoint: {error}"))?;
        let base = target.path().trim_end_matches('/');
        let path = if base.ends_with(TRACES) { base.to_owned() } else { format!("{base}{TRACES}") };
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(format!("otlp.sample_ratio: {} is not from 0 to 1", self.sample_ratio));
        }
        let within = |name: &str, value: u64, max: u64| {
            let good = (1..=max).contains(&value);
            good.then_some(value).ok_or_else(|| format!("otlp.{name}: {value} is not from 1 to {max}"))
        };
        within("queue", self.queue as u64, QUEUE_MAX as u64)?;
        within("batch", self.batch as u64, BATCH_MAX as u64)?;
        let timeout = within("timeout_seconds", self.timeout_seconds, TIMEOUT_SECONDS_MAX)?;
        let delay = within("delay_ms", self.delay_ms, DELAY_MS_MAX)?;
        let good = |text: &String| (1..=TEXT_BYTES_MAX).contains(&text.len());
        if self.resource.len() > RESOURCE_MAX
            || !self.resource.iter().all(|(key, value)| good(key) && good(value))
        {
            return Err(format!(
                "otlp.resource: at most {RESOURCE_MAX} names and texts of 1 to {TEXT_BYTES_MAX} bytes"
            ));
        }
        if !self.service_name.as_ref().is_none_or(good) {
            return Err(format!("otlp.service_name: not a name of 1 to {TEXT_BYTES_MAX} bytes"));
        }
        Ok(Settings {
            target,
            path,
            headers_file: self.headers_file,
            ratio: self.sample_ratio,
            timeout: Duration::from_secs(timeout),
            queue: self.queue,
            limits: Limits { batch: self.batch, delay: Duration::from_millis(delay) },
            service_name: self.service_name,
            resource: self.resource,
        })
    }
}

impl Settings {
    /// Who is chosen.
    pub(super) fn sampler(&self) -> Sampler {
        Sampler::new(self.ratio)
    }

    /// Who says all this. What the file says comes last and replaces ours.
    pub(super) fn resource(&self, service: &str, pod: &str) -> Vec<(String, String)> {
        let name = self.service_name.as_deref().unwrap_or(env!("CARGO_PKG_NAME"));
        let ours = [
            ("service.name", name),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", pod),
            ("k8s.pod.name", pod),
            ("crossfade.service", service),
        ];
        let mut all: BTreeMap<_, _> =
            ours.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        all.extend(self.resource.clone());
        all.into_iter().collect()
    }

    /// The numbers by name.
    #[cfg(test)]
    pub(in crate::app) fn numbers(&self) -> [(&'static str, f64); 5] {
        [
            ("sample_ratio", self.ratio),
            ("timeout_seconds", self.timeout.as_secs_f64()),
            ("queue", self.queue as f64),
            ("batch", self.limits.batch as f64),
            ("delay_ms", self.limits.delay.as_millis() as f64),
        ]
    }
}

/// The fields in a file, one `name: value` a line.
///
/// # Errors
/// A sentence that names the line, never what stands in it.
pub(super) fn fields(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let at = |why: &dyn std::fmt::Display| format!("otlp.headers_file {}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| at(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(at(&format_args!("{length} bytes, at most {FILE_BYTES_MAX}")));
    }
    parse(&std::fs::read_to_string(path).map_err(|error| at(&error))?).map_err(|why| at(&why))
}

fn parse(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut fields = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let field = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        match field {
            Some((name, _)) if OURS.contains(&name) => {
                return Err(format!("line {number}: {name} is not to be set"));
            }
            Some(field) if fields.len() < FIELDS_MAX => fields.push(field),
            Some(_) => return Err(format!("more than {FIELDS_MAX} fields")),
            None => return Err(format!("line {number}: not a field such as authorization: Bearer TOKEN")),
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(endpoint: &str) -> Result<Settings, String> {
        toml::from_str::<Section>(&format!("endpoint = \"{endpoint}\"")).unwrap().check()
    }

    #[test]
    fn traces_have_their_path_behind_the_endpoints_own() {
        for (endpoint, path) in [
            ("http://127.0.0.1:4318", "/v1/traces"),
            ("http://127.0.0.1:4318/", "/v1/traces"),
            ("https://otlp.example/otlp", "/otlp/v1/traces"),
            ("https://otlp.example/v1/traces", "/v1/traces"),
        ] {
            assert_eq!(section(endpoint).unwrap().path, path, "{endpoint}");
        }
        let error = section("https://user:hunter2@otlp.example").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn fields_come_one_a_line_and_what_is_wrong_is_not_repeated() {
        let fields = parse("# of the team\nauthorization: Bearer a:b\n\nx-scope : 7\n").unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("authorization", &b"Bearer a:b"[..]), ("x-scope", b"7")]);
        for (text, words) in
            [("a: b\nhunter2", "line 2"), ("Host: hunter2", "host is not"), ("hunter 2: x", "line 1")]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter"), "{error}");
        }
        assert!(parse(&"a: b\n".repeat(FIELDS_MAX + 1)).is_err());
    }

    #[test]
    fn the_resource_names_the_pod_and_the_file_has_the_last_word() {
        let text = "endpoint = \"http://a\"\n[resource]\n\"k8s.pod.name\" = \"other\"\n\"team\" = \"chat\"";
        let settings = toml::from_str::<Section>(text).unwrap().check().unwrap();
        let resource: BTreeMap<_, _> = settings.resource("rooms", "rooms-0").into_iter().collect();
        let of = |key: &str| resource.get(key).map(String::as_str);
        assert_eq!(of("service.name"), Some("crossfade"));
        assert_eq!((of("k8s.pod.name"), of("service.instance.id")), (Some("other"), Some("rooms-0")));
        assert_eq!((of("crossfade.service"), of("team")), (Some("rooms"), Some("chat")));
    }
}
