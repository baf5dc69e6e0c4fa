//! Everybody of a test: service and clients in this process, crossfade and the emulator in processes of their own.

use std::sync::atomic::Ordering;

use crossfade::demo::clients::{Clients, Phase};
use crossfade::demo::log::{Findings, Log};
use crossfade::demo::service::Service;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::http::value_in;
use super::process::{Emulator, Proxy, until};

/// What makes every session hot at once: the breaker is held closed, so that no test waits for ten probes.
pub(crate) const ALL_HOT: [(&str, &str); 2] =
    [("CROSSFADE_ROLLOUT_PERCENT", "100"), ("CROSSFADE_BREAKER", "forced_closed")];

pub(crate) const HOT: &str = "crossfade_sessions{lane=\"hot\"}";
pub(crate) const LEGACY: &str = "crossfade_sessions{lane=\"legacy\"}";

pub(crate) struct Stage {
    pub(crate) service: Service,
    pub(crate) clients: Clients,
    pub(crate) proxy: Proxy,
    phase: watch::Sender<Phase>,
    count: u64,
    crowd: JoinHandle<()>,
    serving: JoinHandle<()>,
}

/// The account at rest: every message that the tap saw has ended in one way, and none by a bug of ours.
pub(crate) async fn audit(proxy: &Proxy) {
    // With Realtime gone and the breaker held closed, what is in flight stays so until it is given up.
    if proxy.value("crossfade_realtime_connected").await > 0.0 {
        proxy.until_value("crossfade_mirror_in_flight", 0.0).await;
    }
    proxy.until_value("crossfade_ledger_imbalance", 0.0).await;
    let scrape = proxy.scrape().await;
    assert_eq!(value_in(&scrape, "crossfade_mirror_shed_total{reason=\"internal\"}"), 0.0, "{scrape}");
}

impl Stage {
    /// Starts the service, crossfade and `count` clients, and waits until all are connected.
    pub(crate) async fn open(count: u64, emulator: Option<&Emulator>, env: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let service = Service::default();
        let serving = tokio::spawn(service.clone().serve(listener));
        let proxy = Proxy::start(upstream, emulator, env);
        proxy.until_ready(200).await;
        if emulator.is_some() {
            proxy.until_value("crossfade_realtime_connected", 1.0).await;
        }
        let (phase, watched) = watch::channel(Phase::Talking);
        let clients = Clients::default();
        let crowd =
            tokio::spawn(clients.clone().run(proxy.clients, usize::try_from(count).unwrap(), watched));
        let stage = Self { service, clients, proxy, phase, count, crowd, serving };
        until("every client is connected", async || (stage.connected() == count).then_some(())).await;
        stage
    }

    fn connected(&self) -> u64 {
        self.clients.open.load(Ordering::Relaxed)
    }

    /// Waits until the service has written `messages` more than now, by its own log.
    pub(crate) async fn written(&self, messages: u64) {
        let goal = self.service.written.total() + messages;
        until("the service writes", async || (self.service.written.total() >= goal).then_some(())).await;
    }

    /// Ends the load and waits for what is under way.
    pub(crate) async fn rest(&self) {
        self.service.quiet.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Listening);
        let mut last = None;
        until("the logs agree or rest", async || {
            let pairs = [
                (self.service.written.total(), self.clients.received.total()),
                (self.clients.sent.total(), self.service.read.total()),
            ];
            // A difference of totals that never closes is told by the comparison, not by the hang limit.
            let rested = last.as_ref().is_some_and(|(old, at): &(_, std::time::Instant)| {
                *old == pairs && at.elapsed() > super::process::HANG / 4
            });
            if last.as_ref().is_none_or(|(old, _)| *old != pairs) {
                last = Some((pairs, super::process::now()));
            }
            (rested || pairs.iter().all(|(sent, read)| sent == read)).then_some(())
        })
        .await;
    }

    /// Rests; then sends the clients home and compares the logs.
    pub(crate) async fn close(self) -> Findings {
        self.rest().await;
        assert_eq!(self.clients.unasked_closes.load(Ordering::Relaxed), 0, "closes that no client asked for");
        assert_eq!(self.clients.refused.load(Ordering::Relaxed), 0, "refused clients");
        assert_eq!(self.connected(), self.count);
        self.phase.send_replace(Phase::Leaving);
        tokio::time::timeout(super::process::HANG, self.crowd).await.unwrap().unwrap();
        self.serving.abort();
        audit(&self.proxy).await;
        let down = Log::compare(&self.service.written, &self.clients.received);
        let up = Log::compare(&self.clients.sent, &self.service.read);
        assert!(
            down.received >= self.count && up.received >= self.count,
            "too little was said: {down:?} {up:?}"
        );
        down.and(up)
    }

    /// As [`Stage::close`], and the logs must be the same.
    pub(crate) async fn close_clean(self) {
        let found = self.close().await;
        assert!(found.is_clean(), "{found:?}");
    }
}
