//! Faults on plain HTTP requests, rows as well as broadcasts: refused, slow, cut before they are carried out, or
//! carried out with the answer lost. The machine decides; the shell waits and cuts.

use super::super::config::fits;
use super::super::http::HttpRequest;
use super::super::machine::{Emulator, HttpAnswer};
use super::active::Faults;
use super::{Fault, FaultKind};
use std::time::{Duration, Instant};

/// What the armed faults do to one HTTP request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFate {
    /// Answer this and do nothing else.
    pub instead: Option<HttpAnswer>,
    /// End the connection and do nothing else.
    pub cut: bool,
    /// Carry it out, then end the connection instead of answering.
    pub lose: bool,
    /// Wait so long before the answer (or its loss).
    pub delay: Duration,
}

impl FaultKind {
    /// Whether it acts on HTTP requests and nothing else.
    pub(super) fn of_requests(&self) -> bool {
        matches!(
            self,
            FaultKind::RefuseRequests { .. }
                | FaultKind::SlowRequests { .. }
                | FaultKind::CutRequests
                | FaultKind::LoseAnswers
        )
    }
}

impl Faults {
    fn on_request(&mut self, path: &str, now: Instant) -> RequestFate {
        let mut fate = RequestFate::default();
        let concerns = |fault: &Fault| {
            fault.kind.of_requests() && fault.path.as_deref().is_none_or(|pattern| fits(pattern, path))
        };
        for armed in self.armed.iter_mut().filter(|armed| concerns(&armed.fault)) {
            if !armed.meets(now) {
                continue;
            }
            match armed.fault.kind {
                FaultKind::RefuseRequests { status, retry_after } => {
                    fate.instead = Some(refusal(status, retry_after));
                }
                FaultKind::SlowRequests { delay_ms } => fate.delay += Duration::from_millis(delay_ms),
                FaultKind::CutRequests => fate.cut = true,
                FaultKind::LoseAnswers => fate.lose = true,
                _ => {}
            }
        }
        fate
    }
}

impl Emulator {
    /// What is to become of a request; ask before it is carried out, once.
    pub fn meet_request(&mut self, request: &HttpRequest, now: Instant) -> RequestFate {
        if self.faults.idle() {
            return RequestFate::default();
        }
        self.handle_timeout(now);
        let path = request.path.strip_prefix("/realtime/v1").unwrap_or(&request.path);
        let fate = self.faults.on_request(path, now);
        self.stats.faulted += u64::from(fate != RequestFate::default());
        self.time_fault_ends();
        fate
    }
}

/// What the gateway in front of a project says; its text is for people.
fn refusal(status: u16, retry_after: Option<u64>) -> HttpAnswer {
    let message = match status {
        429 => "API rate limit exceeded",
        500 => "An unexpected error occurred",
        502 => "An invalid response was received from the upstream server",
        503 => "name resolution failed",
        504 => "The upstream server is timing out",
        _ => "refused by a fault",
    };
    HttpAnswer {
        status,
        content_type: Some("application/json; charset=utf-8"),
        headers: retry_after.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect(),
        body: format!("{{\"message\":\"{message}\"}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Clock, Config, Secret};
    use super::*;
    use bytes::Bytes;

    fn fates(faults: &[&str], requests: &[(&str, u64)]) -> Vec<RequestFate> {
        #[expect(clippy::disallowed_methods, reason = "one origin for the virtual clock")]
        let began = Instant::now();
        let clock = Clock { at: began, unix_ms: 1_000_000_000_000 };
        let mut emulator = Emulator::new(Config::new(Secret::new("s")), 1, clock);
        for fault in faults {
            emulator.inject(Fault::parse(fault).unwrap(), began);
        }
        let meet = |&(path, ms): &(&str, u64)| {
            let request = HttpRequest {
                method: "POST".to_owned(),
                path: path.to_owned(),
                query: String::new(),
                headers: Vec::new(),
                body: Bytes::new(),
            };
            emulator.meet_request(&request, began + Duration::from_millis(ms))
        };
        requests.iter().map(meet).collect()
    }

    fn statuses(fates: &[RequestFate]) -> Vec<u16> {
        fates.iter().map(|fate| fate.instead.as_ref().map_or(200, |answer| answer.status)).collect()
    }

    #[test]
    fn counts_choose_the_requests() {
        let rows = "/rest/v1/t";
        let fault = "refuse_requests status=500 after_pushes=1 for_pushes=2";
        let met = fates(&[fault], &[(rows, 0), (rows, 0), (rows, 0), (rows, 0)]);
        assert_eq!(statuses(&met), [200, 500, 500, 200]);
    }

    #[test]
    fn paths_choose_the_requests_with_and_without_the_gateways_prefix() {
        let asked = [("/rest/v1/a", 0), ("/rest/v1/b", 0), ("/realtime/v1/api/broadcast", 0)];
        let rows = fates(&["refuse_requests path=/rest/v1/a"], &asked);
        assert_eq!(statuses(&rows), [503, 200, 200]);
        let all = fates(&["refuse_requests path=/rest/v1/*"], &asked);
        assert_eq!(statuses(&all), [503, 503, 200]);
        assert_eq!(statuses(&fates(&["refuse_requests path=/api/broadcast*"], &asked)), [200, 200, 503]);
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_ends_with_its_time() {
        let fault = "refuse_requests status=429 retry_after=7 for_ms=1000";
        let met = fates(&[fault], &[("/rest/v1/a", 999), ("/rest/v1/a", 1_001)]);
        let answer = met[0].instead.as_ref().unwrap();
        assert_eq!((answer.status, &answer.headers[..]), (429, &[("retry-after", "7".to_owned())][..]));
        assert_eq!(met[1], RequestFate::default());
    }

    #[test]
    fn slow_cut_and_lost_are_told_apart_and_leave_pushes_alone() {
        let met = fates(
            &[
                "slow_requests delay_ms=40 for_pushes=1",
                "lose_answers for_pushes=1",
                "cut_requests after_pushes=1",
            ],
            &[("/rest/v1/a", 0), ("/rest/v1/a", 0)],
        );
        let first = RequestFate { lose: true, delay: Duration::from_millis(40), ..RequestFate::default() };
        assert_eq!(met, [first, RequestFate { cut: true, ..RequestFate::default() }]);
        // Faults on pushes leave requests alone.
        assert_eq!(fates(&["drop", "nack"], &[("/rest/v1/a", 0)]), [RequestFate::default()]);
    }
}
