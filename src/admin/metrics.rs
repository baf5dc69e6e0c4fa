//! The metric families, each declared once, and the [`Snapshot`] that they are read from.
//! Names and labels are an interface: `tests/snapshots/metrics.txt` holds them, and a change is a visible diff.

use prometheus::proto::MetricType;

use super::histogram::Readings;
use super::process::Process;
use crate::ledger::{Account, Shed};

/// The most series of one process.
pub const SERIES_MAX: usize = 1000;
/// The most values of one label.
pub const LABELS_MAX: usize = 32;
/// States of the breaker, in label order.
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// Every figure at one moment. Labels are words of closed enums (`as_str()`).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Open sessions by lane.
    pub sessions: Vec<(&'static str, u64)>,
    /// Sessions since the start, by the lane at the upgrade.
    pub sessions_total: Vec<(&'static str, u64)>,
    /// Sessions that ended, by cause.
    pub sessions_ended: Vec<(&'static str, u64)>,
    /// Messages of hot sessions by how they reached the client.
    pub hot_messages: Vec<(&'static str, u64)>,
    /// Messages of hot sessions that did not travel through Realtime, by reason.
    pub hot_direct: Vec<(&'static str, u64)>,
    /// Sessions that left the hot lane inside their open socket, by reason.
    pub moves_back: Vec<(&'static str, u64)>,
    /// Sessions that became hot inside their open socket.
    pub moves_to_hot: u64,
    /// Panics inside the tap.
    pub tap_panics: u64,
    /// Bytes of copied messages that are held now.
    pub buffered_bytes: u64,
    /// Broadcasts handed to the link.
    pub batches: u64,
    /// TLS handshakes with clients, by outcome.
    pub handshakes: Vec<(&'static str, u64)>,
    /// Handshakes with clients that succeeded, by version.
    pub tls_versions: Vec<(&'static str, u64)>,
    /// TLS handshakes with the service, by outcome.
    pub upstream_handshakes: Vec<(&'static str, u64)>,
    /// Changes of TLS files, by what came of them.
    pub tls_reloads: Vec<(&'static str, u64)>,
    /// When the first certificate in use expires, in Unix seconds.
    pub tls_expires: Option<u64>,
    /// Open client connections, sessions included.
    pub connections: u64,
    /// Exchanges and connections that failed or were refused, by reason.
    pub faults: Vec<(&'static str, u64)>,
    /// Bytes that decompressors and their windows hold.
    pub inflate_bytes: u64,
    /// Decompressors put to sleep.
    pub hibernated: u64,
    /// Bytes of them, and what they stand for.
    pub published: super::Published,
    /// Upgrade requests by outcome.
    pub upgrades: Vec<(&'static str, u64)>,
    /// Data messages that the tap saw pass, by direction.
    pub messages: Vec<(&'static str, u64)>,
    /// Bytes that passed the tunnels, by direction.
    pub bytes: Vec<(&'static str, u64)>,
    /// Messages of the mirror by what became of them; see [`with_account`](Self::with_account).
    pub mirror_messages: Vec<(&'static str, u64)>,
    /// Messages that the mirror shed, by reason.
    pub mirror_shed: Vec<(&'static str, u64)>,
    /// Messages whose token is open.
    pub mirror_in_flight: u64,
    /// Messages on the spool's disk, as the ledger counts them.
    pub mirror_spooled: u64,
    /// The spool, where there is one.
    pub spool: Option<super::SpoolReadings>,
    /// The validator, once it has looked.
    pub matching: Option<super::MatchReadings>,
    /// What the ledger's equation lacks.
    pub ledger_imbalance: i64,
    /// `closed`, `open` or `half_open`; empty where there is no breaker.
    pub breaker_state: &'static str,
    /// Trips by trigger.
    pub breaker_trips: Vec<(&'static str, u64)>,
    /// From publish to read-back.
    pub readback: Readings,
    /// How long things take and how large they are.
    pub times: super::Times,
    /// The `events` format.
    pub events: super::EventReadings,
    /// The cold lane, where there is one.
    pub cold: Option<super::ColdReadings>,
    /// Rows of the table by what became of them.
    pub table_rows: Vec<(&'static str, u64)>,
    /// Requests to the table by result.
    pub table_requests: Vec<(&'static str, u64)>,
    /// Bytes that wait for the table.
    pub table_waiting_bytes: u64,
    /// Messages that only the table has.
    pub table_proofs: u64,
    /// Whether the link is joined.
    pub realtime_connected: bool,
    /// Whether our role may read a topic of ours and not write it.
    pub realtime_write_denied: bool,
    /// The effective share of the users on the Realtime side, in percent.
    pub rollout_percent: f64,
    /// See the family; `None` without an open keyed session.
    pub rollout_live_percent: Option<f64>,
    /// The plan's budget; `None` without Supabase settings.
    pub quota: Option<super::Quota>,
    /// The stores of the rollout's flags.
    pub tiers: super::Tiers,
    /// The flight recorder and the drills.
    pub trips: super::TripReadings,
    /// Spans by what became of them; empty without `[otlp]`.
    pub otlp_spans: Vec<(&'static str, u64)>,
    /// Notices by what became of them; empty where there are none.
    pub notices: Vec<(&'static str, u64)>,
    /// The rollout besides its stores.
    pub rollout: super::RolloutReadings,
}

impl Snapshot {
    /// Fills in what the ledger knows. Every reason is shown, so that an alert finds its zero.
    #[must_use]
    pub fn with_account(mut self, account: &Account) -> Self {
        self.mirror_messages = vec![
            ("seen", account.seen),
            ("confirmed", account.confirmed),
            ("acked_only", account.acked_only),
            ("inherited", account.inherited),
        ];
        self.mirror_shed = Shed::ALL.into_iter().map(|why| (why.as_str(), account.shed(why))).collect();
        self.mirror_in_flight = account.in_flight;
        self.mirror_spooled = account.spooled;
        self.ledger_imbalance = account.imbalance();
        self
    }
}

/// One family: how it is called and how it is read.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// The label's name, or nothing.
    pub(super) label: &'static str,
    pub(super) help: &'static str,
    pub(super) read: fn(&Scrape<'_>) -> Samples,
}

/// What one scrape looks at.
pub(super) struct Scrape<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) process: &'a Process,
}

/// The samples of one family.
pub(super) enum Samples {
    One(Option<f64>),
    Labelled(Vec<(&'static str, f64)>),
    Latency(Readings),
    Spread(super::Spread),
}

pub(super) const fn counter(
    name: &'static str,
    label: &'static str,
    help: &'static str,
    read: fn(&Scrape<'_>) -> Samples,
) -> Family {
    Family { name, kind: MetricType::COUNTER, label, help, read }
}

pub(super) const fn gauge(
    name: &'static str,
    label: &'static str,
    help: &'static str,
    read: fn(&Scrape<'_>) -> Samples,
) -> Family {
    Family { name, kind: MetricType::GAUGE, label, help, read }
}

/// Every family, in the order of the document.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES
        .iter()
        .chain(&super::times::FAMILIES)
        .chain(&super::quota::FAMILIES)
        .chain(&super::spool::FAMILIES)
        .chain(&super::published::FAMILIES)
        .chain(&super::table::FAMILIES)
        .chain(&super::events::FAMILIES)
        .chain(&super::cold::FAMILIES)
        .chain(super::matching::families())
        .chain(&super::process::FAMILIES)
        .chain(&super::flags::FAMILIES)
        .chain(&super::trips::FAMILIES)
        .chain(&super::notices::FAMILIES)
        .chain(&super::rollout::FAMILIES)
}

static FAMILIES: &[Family] = &[
    gauge("crossfade_sessions", "lane", "Open sessions.", |s| counts(&s.snapshot.sessions)),
    counter(
        "crossfade_sessions_total",
        "lane",
        "Sessions since the start, by the lane at the upgrade.",
        |s| counts(&s.snapshot.sessions_total),
    ),
    counter("crossfade_sessions_ended_total", "cause", "Sessions that ended, and how.", |s| {
        counts(&s.snapshot.sessions_ended)
    }),
    counter(
        "crossfade_hot_messages_total",
        "how",
        "Messages of hot sessions, by how they were released.",
        |s| counts(&s.snapshot.hot_messages),
    ),
    counter(
        "crossfade_hot_direct_total",
        "reason",
        "Messages of hot sessions that did not travel through Realtime.",
        |s| counts(&s.snapshot.hot_direct),
    ),
    counter("crossfade_moves_to_hot_total", "", "Sessions that became hot inside their open socket.", |s| {
        one(float(s.snapshot.moves_to_hot))
    }),
    counter(
        "crossfade_moves_back_total",
        "reason",
        "Sessions that left the hot lane inside their open socket.",
        |s| counts(&s.snapshot.moves_back),
    ),
    counter("crossfade_tap_panics_total", "", "Panics inside the tap; must be zero.", |s| {
        one(float(s.snapshot.tap_panics))
    }),
    gauge("crossfade_mirror_buffered_bytes", "", "Bytes of copied messages that are held now.", |s| {
        one(float(s.snapshot.buffered_bytes))
    }),
    counter("crossfade_mirror_batches_total", "", "Broadcasts handed to the link.", |s| {
        one(float(s.snapshot.batches))
    }),
    counter(
        "crossfade_tls_handshakes_total",
        "outcome",
        "TLS handshakes with clients, by how they ended.",
        |s| counts(&s.snapshot.handshakes),
    ),
    counter(
        "crossfade_tls_versions_total",
        "version",
        "TLS handshakes with clients that succeeded, by version.",
        |s| counts(&s.snapshot.tls_versions),
    ),
    counter(
        "crossfade_upstream_tls_handshakes_total",
        "outcome",
        "TLS handshakes with the service, by how they ended.",
        |s| counts(&s.snapshot.upstream_handshakes),
    ),
    counter(
        "crossfade_tls_reloads_total",
        "outcome",
        "Changes of certificate, key or root files: applied, or refused while the last good ones stay.",
        |s| counts(&s.snapshot.tls_reloads),
    ),
    gauge(
        "crossfade_tls_certificate_expiry_seconds",
        "",
        "When the first of our certificates in use expires, as Unix time.",
        |s| Samples::One(s.snapshot.tls_expires.map(float)),
    ),
    gauge("crossfade_connections", "", "Open client connections, sessions included.", |s| {
        one(float(s.snapshot.connections))
    }),
    counter(
        "crossfade_faults_total",
        "reason",
        "Connections and exchanges that failed or were refused, by the word in x-crossfade-error.",
        |s| counts(&s.snapshot.faults),
    ),
    gauge(
        "crossfade_inflate_bytes",
        "",
        "Memory that the decompressors of mirrored sessions and their windows hold.",
        |s| one(float(s.snapshot.inflate_bytes)),
    ),
    counter(
        "crossfade_inflaters_hibernated_total",
        "",
        "Decompressors of idle sessions whose memory was given back.",
        |s| one(float(s.snapshot.hibernated)),
    ),
    counter("crossfade_upgrades_total", "outcome", "Upgrade requests, by what became of them.", |s| {
        counts(&s.snapshot.upgrades)
    }),
    counter("crossfade_messages_total", "direction", "Data messages that the tap saw pass.", |s| {
        counts(&s.snapshot.messages)
    }),
    counter("crossfade_bytes_total", "direction", "Bytes that passed the tunnels.", |s| {
        counts(&s.snapshot.bytes)
    }),
    counter(
        "crossfade_mirror_messages_total",
        "state",
        "Messages of the mirror: seen, and settled how.",
        |s| counts(&s.snapshot.mirror_messages),
    ),
    counter(
        "crossfade_mirror_shed_total",
        "reason",
        "Messages that the mirror did not deliver, and why.",
        |s| counts(&s.snapshot.mirror_shed),
    ),
    gauge("crossfade_mirror_in_flight", "", "Messages whose account is open.", |s| {
        one(float(s.snapshot.mirror_in_flight))
    }),
    gauge("crossfade_mirror_spooled", "", "Messages on the spool's disk, by the ledger's count.", |s| {
        one(float(s.snapshot.mirror_spooled))
    }),
    gauge("crossfade_ledger_imbalance", "", "Seen minus every way to be settled; zero at rest.", |s| {
        one(s.snapshot.ledger_imbalance as f64)
    }),
    gauge("crossfade_breaker_state", "state", "1 for the state that the breaker is in.", |s| {
        let hot = |state| (state, f64::from(u8::from(state == s.snapshot.breaker_state)));
        Samples::Labelled(BREAKER_STATES.map(hot).to_vec())
    }),
    counter("crossfade_breaker_trips_total", "trigger", "Trips of the breaker.", |s| {
        counts(&s.snapshot.breaker_trips)
    }),
    gauge("crossfade_realtime_connected", "", "1 while the link to Realtime is joined.", |s| {
        one(f64::from(u8::from(s.snapshot.realtime_connected)))
    }),
    gauge("crossfade_realtime_write_denied", "", "1 while no policy lets us write a topic of ours.", |s| {
        one(f64::from(u8::from(s.snapshot.realtime_write_denied)))
    }),
    counter(
        "crossfade_log_suppressed_total",
        "",
        "Log events that were not written because their place repeats.",
        |_| one(float(crate::telemetry::suppressed())),
    ),
    counter(
        "crossfade_log_lost_total",
        "",
        "Log lines that were lost because the reader of standard error was slow.",
        |_| one(float(crate::telemetry::lost())),
    ),
    counter(
        "crossfade_otlp_spans_total",
        "outcome",
        "Spans of sessions, by what became of them; no sample without [otlp] in the tuning file.",
        |s| counts(&s.snapshot.otlp_spans),
    ),
    gauge(
        "crossfade_metric_label_overflow",
        "",
        "Label values left out of this scrape; must be zero.",
        |s| one(float(super::exposition::overflow(s))),
    ),
    gauge("crossfade_build_info", "version", "Always 1; the label tells the version.", |_| {
        Samples::Labelled(vec![(env!("CARGO_PKG_VERSION"), 1.0)])
    }),
];

pub(super) fn one(value: f64) -> Samples {
    Samples::One(Some(value))
}
/// Prometheus has floats only; counters are exact up to 2^53.
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

pub(super) fn counts(labelled: &[(&'static str, u64)]) -> Samples {
    Samples::Labelled(floats(labelled))
}

pub(super) fn floats(labelled: &[(&'static str, u64)]) -> Vec<(&'static str, f64)> {
    labelled.iter().map(|(label, count)| (*label, float(*count))).collect()
}
