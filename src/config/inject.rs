//! The settings of `crossfade inject`, which is a process of its own and needs none of the proxy's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Problem, Problems, Reader};
use super::sections::{Log, log_settings};
use super::strings::Strings;
use super::var::{About, Group};
use super::vars;

/// Settings of the admission webhook.
#[derive(Clone, Debug)]
pub struct Inject {
    /// Its HTTPS listener.
    pub listen: SocketAddr,
    /// Holds `tls.crt` and `tls.key`.
    pub tls_dir: PathBuf,
    /// Its listener of `/metrics` and `/healthz`.
    pub metrics: SocketAddr,
    /// What is added to pods.
    pub template: PathBuf,
    /// How long it still answers after it was told to stop.
    pub settle: Duration,
    /// What is logged, and how.
    pub log: Log,
}

impl Inject {
    /// Reads the webhook's variables. Those of the proxy may be wrong or missing; names that nobody knows may not.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load(strings: &Strings) -> Result<Self, Problems> {
        let reader = Reader::new(strings);
        let others = [
            &vars::LOG.about,
            &vars::LOG_FORMAT.about,
            &vars::DRAIN_SETTLE.about,
            &vars::METRICS_LISTEN.about,
        ];
        let ours = |about: &About| {
            about.group == Group::Inject || others.iter().any(|other| other.name == about.name)
        };
        let problems = reader.problems_where(ours);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        read(&reader).map_err(|problem| Problems(vec![problem]))
    }
}

fn read(r: &Reader<'_>) -> Result<Inject, Problem> {
    Ok(Inject {
        listen: r.value(&vars::INJECT_LISTEN)?,
        metrics: r.value(&vars::METRICS_LISTEN)?,
        tls_dir: r.value(&vars::INJECT_TLS_DIR)?.0.into(),
        template: r.value(&vars::INJECT_TEMPLATE)?.0.into(),
        settle: r.value(&vars::DRAIN_SETTLE)?,
        log: log_settings(r)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_needs_no_setting_and_none_of_the_proxys() {
        let inject = Inject::load(&Strings::of([])).unwrap();
        assert_eq!(inject.listen.to_string(), "0.0.0.0:8443");
        assert_eq!(inject.metrics.to_string(), "0.0.0.0:9464");
        assert_eq!(inject.tls_dir, PathBuf::from("/run/secrets/tls"));
        assert_eq!(inject.template, PathBuf::from("/etc/crossfade/sidecar.json"));
        Inject::load(&Strings::of([("CROSSFADE_WORKERS", "many")])).expect("the proxy's business");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let wrong = [
            ("CROSSFADE_INJECT_LISTEN", "8443"),
            ("CROSSFADE_INJECT_TEMPLAT", "/x"),
            ("CROSSFADE_LOG_FORMAT", "xml"),
        ];
        let said = Inject::load(&Strings::of(wrong)).unwrap_err().to_string();
        for word in
            ["CROSSFADE_INJECT_LISTEN", "did you mean CROSSFADE_INJECT_TEMPLATE?", "CROSSFADE_LOG_FORMAT"]
        {
            assert!(said.contains(word), "{said}");
        }
    }
}
