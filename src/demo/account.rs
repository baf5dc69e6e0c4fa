//! The demo's final account: what was promised, what was seen, and every promise that was broken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::Shed;
use crate::proxy::Lane;
use crate::status::Status;

use super::log::Findings;

/// Everything that the demo can say about itself at its end. Counts are messages unless they say otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// Clients that took part.
    pub clients: u64,
    /// Written by the service and by the clients, from their own logs.
    pub sent: u64,
    /// Read by the clients and by the service, from their own logs.
    pub received: u64,
    /// Written and never read.
    pub lost: u64,
    /// Read more often than written.
    pub duplicated: u64,
    /// Read out of order.
    pub reordered: u64,
    /// Read and never written.
    pub invented: u64,
    /// Closes that no client asked for, refused connections included.
    pub client_closes: u64,
    /// Seen by the tap.
    pub mirrored: u64,
    /// In batches that Realtime acknowledged.
    pub acknowledged: u64,
    /// Delivered back by Realtime with the right length and checksum.
    pub read_back: u64,
    /// Not in Realtime, by reason.
    pub shed: BTreeMap<&'static str, u64>,
    /// What the ledger's equation lacks.
    pub ledger_imbalance: i64,
    /// Tokens that are still open.
    pub ledger_in_flight: u64,
    /// Sessions by lane while all clients were connected and Realtime was up.
    pub sessions_by_lane: BTreeMap<&'static str, i64>,
    /// What the bucket function says for the demo's keys.
    pub predicted_by_lane: BTreeMap<&'static str, i64>,
    /// Messages that reached hot clients by way of Realtime.
    pub via_realtime: u64,
    /// Messages released from the window at the deadline.
    pub rescued: u64,
    /// Messages written from memory when sessions went back to legacy.
    pub switched_back: u64,
    /// How often the breaker opened.
    pub trips: u64,
    /// What opened it last.
    pub last_trip: Option<&'static str>,
    /// From the last trip until every session was back on legacy.
    pub return_to_legacy_ms: Option<f64>,
    /// After the fault, sessions became hot again.
    pub hot_again: Option<bool>,
    /// Round trip through Realtime, 95th percentile.
    pub rtt_p95_ms: f64,
    /// Promises that were broken, in words. Empty when all is well.
    pub broken: Vec<String>,
}

/// What the account is drawn up from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Service → clients and clients → service, from their own logs.
    pub findings: Findings,
    /// Clients that took part.
    pub clients: u64,
    /// Closes that no client asked for.
    pub closes: u64,
    /// The product's own figures after the final drain.
    pub status: &'a Status,
    /// Open sessions by [`Lane::ALL`] in the steady state.
    pub lanes: [i64; Lane::ALL.len()],
    /// Sessions that the bucket function puts on the hot lane.
    pub predicted_hot: i64,
    /// Whether Realtime was taken away, and if so, whether sessions became hot again.
    pub fault: Option<bool>,
}

impl Account {
    /// Draws up the account and holds it against what was promised.
    #[must_use]
    pub fn draw(evidence: &Evidence<'_>) -> Self {
        let Evidence { findings, status, .. } = evidence;
        let ledger = &status.ledger;
        let clients = i64::try_from(evidence.clients).unwrap_or(i64::MAX);
        let lanes = |hot: i64, legacy: i64| BTreeMap::from([("hot", hot), ("legacy", legacy)]);
        let mut account = Self {
            clients: evidence.clients,
            sent: findings.sent,
            received: findings.received,
            lost: findings.lost,
            duplicated: findings.duplicated,
            reordered: findings.reordered,
            invented: findings.invented,
            client_closes: evidence.closes,
            mirrored: ledger.seen,
            acknowledged: status.mirror.acknowledged,
            read_back: ledger.confirmed,
            shed: ledger.shed_by_reason().map(|(why, n)| (why.as_str(), n)).collect(),
            ledger_imbalance: ledger.imbalance(),
            ledger_in_flight: ledger.in_flight,
            sessions_by_lane: lanes(
                evidence.lanes[Lane::Hot as usize],
                evidence.lanes[Lane::Legacy as usize],
            ),
            predicted_by_lane: lanes(evidence.predicted_hot, clients - evidence.predicted_hot),
            via_realtime: status.hot.via_realtime,
            rescued: status.hot.rescued,
            switched_back: status.hot.switched_back,
            trips: status.breaker.trips,
            last_trip: status.breaker.last_trip.map(crate::breaker::Trigger::as_str),
            return_to_legacy_ms: status.breaker.return_to_legacy.map(|took| took.as_secs_f64() * 1000.0),
            hot_again: evidence.fault,
            rtt_p95_ms: status.mirror.rtt_p95.as_secs_f64() * 1000.0,
            broken: Vec::new(),
        };
        account.broken = account.broken_promises(evidence, ledger.shed(Shed::Internal), ledger.shed_total());
        account
    }

    fn broken_promises(&self, evidence: &Evidence<'_>, internal: u64, shed: u64) -> Vec<String> {
        let mut broken = Vec::new();
        let mut promise = |kept: bool, words: String| {
            if !kept {
                broken.push(words);
            }
        };
        promise(self.sent > 0 && self.received > 0, "nothing was sent: the demo proves nothing".to_owned());
        promise(
            evidence.findings.is_clean(),
            format!(
                "delivery: {} lost, {} doubled, {} reordered, {} invented",
                self.lost, self.duplicated, self.reordered, self.invented
            ),
        );
        promise(
            self.client_closes == 0,
            format!("{} connections were closed or refused", self.client_closes),
        );
        promise(
            self.ledger_imbalance == 0 && self.ledger_in_flight == 0 && internal == 0,
            format!(
                "ledger: imbalance {}, {} in flight, {internal} dropped unsettled",
                self.ledger_imbalance, self.ledger_in_flight
            ),
        );
        promise(
            self.mirrored == self.read_back + shed,
            format!("mirrored {} is not read back {} + shed {shed}", self.mirrored, self.read_back),
        );
        promise(
            self.sessions_by_lane == self.predicted_by_lane,
            format!(
                "lanes {:?} are not what the bucket function predicts: {:?}",
                self.sessions_by_lane, self.predicted_by_lane
            ),
        );
        promise(evidence.status.hot.tap_panics == 0, "the tap panicked".to_owned());
        match evidence.fault {
            None => {
                promise(
                    self.mirrored == self.acknowledged && shed == 0,
                    format!(
                        "mirrored {} is not acknowledged {} (shed {shed})",
                        self.mirrored, self.acknowledged
                    ),
                );
                promise(self.trips == 0, format!("the breaker opened {} times without a fault", self.trips));
            }
            Some(hot_again) => {
                promise(self.trips > 0, "the breaker did not open".to_owned());
                promise(self.return_to_legacy_ms.is_some(), "sessions did not return to legacy".to_owned());
                promise(hot_again, "sessions did not become hot again".to_owned());
            }
        }
        broken
    }
}
