//! Configuration: environment variables in, one typed [`Config`] out, or every problem at once.
//!
//! **Problem.** A sidecar is configured by somebody who edits a manifest, rolls it out and reads one log line.
//! Stopping at the first bad variable costs them a rollout per typo; accepting an unknown name costs them a night.
//!
//! **Decision.** Each variable is declared once, as one value in `vars/` ([`Var`]): name, type, default, unit,
//! doc, example, secret or not. Reading, the error texts, `crossfade config` and `docs/configuration.md` all come
//! from that value. The environment is read once into [`Strings`]; every variable and every rule between
//! variables (`checks.rs`) is then judged on its own, and all [`Problems`] are reported together, before a port is
//! bound. A value that a rule needs and that is itself wrong switches off that rule only.
//!
//! **Names.** A `CROSSFADE_*` name that is not ours is an error with a did-you-mean, because a misspelt variable
//! is a setting that silently does not apply. The names that Kubernetes injects for a Service called `crossfade*`
//! are exempt, and no variable of ours has such a shape. An empty value counts as not set.
//!
//! **Secrets.** A secret comes from its variable or from the file that `NAME_FILE` names, never both. The path is
//! kept ([`Credential::file`]), so that a rotated file can be read again. Secrets have no readable `Debug`, and an
//! error never quotes one, not even when it was pasted into the wrong variable.
//!
//! **Limits.** At most [`VARIABLES_MAX`] variables of the sidecar, the webhook's own aside; a secret file of at most 64 KiB. Nothing here connects to
//! anything: whether the key works is for the link to find out.

mod checks;
mod choices;
mod inject;
mod lists;
mod numbers;
mod places;
mod plan;
mod reader;
mod secret;
mod sections;
mod strings;
pub mod table;
mod tls;
mod var;
pub mod vars;

#[cfg(test)]
mod tests;

pub use choices::{
    BreakerMode, ColdAuth, LogFilter, LogFormat, MirrorFormat, Name, Readback, Redact, RolloutLane, Table,
    Text, Vsn,
};
pub use inject::Inject;
pub use lists::{Cidr, Cidrs, KeyChain, KeySource, Paths};
pub use numbers::{CloseCode, Count, CountOrZero, Percent, Ratio, Size, Timeout, Workers};
pub use places::{ProjectUrl, Upstream};
pub use plan::{CustomPlan, Plan};
pub use reader::{Problem, Problems, Shown};
pub use secret::{Credential, PublicKey, SealKey, Secret};
pub use sections::{Breaker, Cold, Drain, Hot, Log, Mirror, Ops, Proxy, Rollout, Service, Spool, Supabase};
pub use strings::{Strings, TextOrFile, read_secret_file};
pub use tls::{CertificateName, ClientAuth, Intercept, ProxyProtocol, Tls, UpstreamProxyProtocol};
pub use var::{About, Group, Value, Var};

use reader::Reader;
use sections::{cold, log_settings, mirror, proxy, rollout, spool, supabase};

/// The most variables that this program will ever have; what is finer belongs in a tuning file.
pub const VARIABLES_MAX: usize = 80;

/// Everything that the environment says, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this process is in topics and reports.
    pub service: Service,
    /// The way of the bytes.
    pub proxy: Proxy,
    /// TLS on either side, and the PROXY protocol.
    pub tls: Tls,
    /// Where Realtime is; `None` makes this a pure, observable proxy.
    pub supabase: Option<Supabase>,
    /// Who is fed by Realtime.
    pub rollout: Rollout,
    /// The cold lane; `None`: there is none.
    pub cold: Option<Cold>,
    /// What is copied to Realtime, and how.
    pub mirror: Mirror,
    /// Where what cannot be published waits; `None` means that it is shed.
    pub spool: Option<Spool>,
    /// The windows of hot sessions.
    pub hot: Hot,
    /// When Realtime may not be used.
    pub breaker: Breaker,
    /// How the process stops.
    pub drain: Drain,
    /// Listeners for operators.
    pub ops: Ops,
    /// What is logged, and how.
    pub log: Log,
    /// Every variable with what applies, secrets hidden.
    pub shown: Vec<Shown>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every problem of every variable at once.
    pub fn load(strings: &Strings) -> Result<Self, Problems> {
        let reader = Reader::new(strings);
        let mut problems = reader.problems();
        problems.extend(checks::ALL.iter().chain(&tls::CHECKS).filter_map(|check| check(&reader)));
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        build(&reader).map_err(|problem| Problems(vec![problem]))
    }

    /// What the operator should know although it is no error, one sentence each.
    #[must_use]
    pub fn notices(&self) -> Vec<&'static str> {
        let Some(supabase) = &self.supabase else {
            return vec!["no Supabase settings: a pure, observable proxy; nothing is mirrored"];
        };
        let mut notices = Vec::new();
        if supabase.key.secret.is_public() {
            notices.push("SUPABASE_KEY is a public key: private topics will refuse it");
        }
        if self.mirror.percent == Percent::ZERO && self.rollout.percent == Percent::ZERO {
            notices.push("CROSSFADE_MIRROR_PERCENT and CROSSFADE_ROLLOUT_PERCENT are 0: nothing is mirrored");
        }
        notices
    }
}

fn build(r: &Reader<'_>) -> Result<Config, Problem> {
    let pod = match r.optional(&vars::POD)? {
        Some(name) => name.0,
        None => Name::of_host(r.host_name()),
    };
    Ok(Config {
        service: Service { name: r.value(&vars::SERVICE)?.0, pod },
        proxy: proxy(r)?,
        tls: tls::tls(r)?,
        supabase: supabase(r)?,
        rollout: rollout(r)?,
        cold: cold(r)?,
        mirror: mirror(r)?,
        spool: spool(r)?,
        hot: Hot {
            deadline: r.value(&vars::HOT_DEADLINE)?.0,
            window_session: r.value(&vars::WINDOW_SESSION)?.0,
            window_pod: r.value(&vars::WINDOW_POD)?.0,
        },
        breaker: Breaker {
            mode: r.value(&vars::BREAKER)?,
            cooldown: r.value(&vars::BREAKER_COOLDOWN)?.0,
            confidence: r.optional(&vars::BREAKER_CONFIDENCE)?.map(|ratio| ratio.0),
        },
        drain: Drain {
            grace: r.value(&vars::DRAIN_GRACE)?.0,
            settle: r.value(&vars::DRAIN_SETTLE)?,
            code: r.value(&vars::DRAIN_CODE)?.0,
        },
        ops: Ops {
            metrics_listen: r.value(&vars::METRICS_LISTEN)?,
            admin_listen: r.value(&vars::ADMIN_LISTEN)?,
            admin_token: r.credential(&vars::ADMIN_TOKEN)?,
            tuning: r.optional(&vars::TUNING)?.map(|path| path.0.into()),
            admin_view_token: r.credential(&vars::ADMIN_VIEW_TOKEN)?,
            state_dir: r.optional(&vars::STATE_DIR)?.map(|text| text.0.into()),
        },
        log: log_settings(r)?,
        shown: r.shown(),
    })
}
