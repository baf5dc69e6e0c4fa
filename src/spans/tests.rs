//! Who is chosen, what is written (read back by OpenTelemetry's own types), and when it is sent.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a starting point for the virtual clock")]
fn start() -> Instant {
    Instant::now()
}

fn span(start: Instant, parent: Option<(SpanId, bool)>) -> Span {
    Span {
        place: Place {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            id: SpanId::from_bits(7).unwrap(),
            parent,
        },
        name: "websocket session",
        kind: Kind::Server,
        start,
        end: start + Duration::from_millis(1_500),
        attributes: vec![("url.path", Value::cut("/feed")), ("crossfade.bytes.up", u64::MAX.into())],
        events: vec![Event {
            name: "crossfade.move",
            at: start + Duration::from_nanos(1),
            attributes: vec![("crossfade.lane", "hot".into())],
        }],
        events_lost: 3,
        failed: parent.is_some(),
    }
}

#[test]
fn opentelemetrys_own_types_read_what_is_written() {
    let at = start();
    let remote = Some((SpanId::from_bits(0xb7ad_6b71_6920_3331).unwrap(), true));
    let spans = [span(at, remote), span(at, None)];
    let epoch = Epoch { at: at + Duration::from_secs(1), unix_nanos: 1_700_000_001_000_000_000 };
    let resource = [("service.name".to_owned(), "crossfade".to_owned())];
    let body = body(&resource, &spans, epoch).unwrap();
    let read: ExportTraceServiceRequest = serde_json::from_slice(&body).unwrap();
    let under = &read.resource_spans[0];
    let named = &under.resource.as_ref().unwrap().attributes[0];
    assert_eq!(named.key, "service.name");
    let scope = &under.scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "crossfade");
    let [one, root] = scope.spans.as_slice() else { panic!("two spans") };
    assert_eq!(one.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(one.span_id, 7_u64.to_be_bytes());
    assert_eq!(one.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((one.flags, root.flags), (0x301, 0x101), "sampled; the parent is remote, or there is none");
    assert!(root.parent_span_id.is_empty());
    assert_eq!((one.kind, one.name.as_str()), (2, "websocket session"));
    assert_eq!(one.start_time_unix_nano, 1_700_000_000_000_000_000, "before the epoch");
    assert_eq!(one.end_time_unix_nano, 1_700_000_001_500_000_000, "after it");
    assert_eq!((one.events.len(), one.dropped_events_count), (1, 3));
    assert_eq!(one.events[0].time_unix_nano, 1_700_000_000_000_000_001);
    assert_eq!((one.status.as_ref().map(|status| status.code), root.status.as_ref()), (Some(2), None));
    let value = |at: usize| one.attributes[at].value.as_ref().unwrap().value.clone().unwrap();
    assert_eq!(value(0), any_value::Value::StringValue("/feed".into()));
    assert_eq!(
        value(1),
        any_value::Value::IntValue(i64::MAX),
        "what OTLP cannot say is the most that it can"
    );
}

#[test]
fn a_text_is_cut_between_two_characters() {
    let Value::Text(text) = Value::cut(&"é".repeat(TEXT_BYTES_MAX)) else { panic!() };
    assert_eq!(text.len(), TEXT_BYTES_MAX);
    let Value::Text(text) = Value::cut(&format!("a{}", "é".repeat(TEXT_BYTES_MAX))) else { panic!() };
    assert_eq!(text.len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn all_none_and_a_hundredth_are_chosen() {
    let (all, none, some) = (Sampler::new(1.0), Sampler::new(0.0), Sampler::new(0.01));
    assert!(all.wants(0) && all.wants(u128::MAX));
    assert!(!none.wants(0) && !none.wants(u128::MAX));
    assert_eq!(Sampler::new(f64::NAN), none);
    // The edge is where everybody has it who decides by the last 56 bits.
    let edge = (1_u128 << 56) - (((1_u64 << 56) as f64 * 0.01) as u128);
    assert!(some.wants(edge) && !some.wants(edge - 1));
    assert!(some.wants(edge | (0xab << 56)), "what is above these bits does not count");
}

proptest! {
    #[test]
    fn who_is_chosen_at_a_ratio_is_chosen_at_every_greater_one(
        trace in any::<u128>(), one in 0.0..=1.0_f64, other in 0.0..=1.0_f64,
    ) {
        let (less, more) = (one.min(other), one.max(other));
        prop_assert!(!Sampler::new(less).wants(trace) || Sampler::new(more).wants(trace));
    }
}

const LIMITS: Limits = Limits { batch: 3, delay: Duration::from_secs(5) };

fn answer(status: u16, body: &str) -> Heard<'_> {
    Heard::Answer { status, retry_after: None, body }
}

fn filled(spans: usize, now: Instant) -> Exporter {
    let mut exporter = Exporter::new(LIMITS);
    for _ in 0..spans {
        assert!(exporter.has_room());
        exporter.push(span(now, None), now);
    }
    exporter
}

#[test]
fn a_batch_goes_when_it_is_full_or_has_waited_or_is_the_last() {
    let now = start();
    assert!(filled(0, now).poll_transmit(now, true).is_none());
    let exporter = filled(2, now);
    assert!(exporter.poll_transmit(now, false).is_none());
    assert_eq!(exporter.poll_timeout(), Some(now + LIMITS.delay));
    assert_eq!(exporter.poll_transmit(now + LIMITS.delay, false).map(<[Span]>::len), Some(2));
    assert_eq!(exporter.poll_transmit(now, true).map(<[Span]>::len), Some(2));
    let full = filled(3, now);
    assert!(!full.has_room());
    assert_eq!(full.poll_transmit(now, false).map(<[Span]>::len), Some(3));
}

#[test]
fn an_answer_settles_the_batch() {
    let now = start();
    let settled = |exported, rejected, dropped| Settled { exported, rejected, dropped };
    for (heard, expected) in [
        (answer(200, ""), settled(3, 0, 0)),
        (answer(200, "{}"), settled(3, 0, 0)),
        (answer(200, r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#), settled(1, 2, 0)),
        (answer(200, r#"{"partialSuccess":{"rejectedSpans":2}}"#), settled(1, 2, 0)),
        (answer(200, r#"{"partialSuccess":{"rejectedSpans":"9"}}"#), settled(0, 3, 0)),
        (answer(400, ""), settled(0, 3, 0)),
        (answer(401, ""), settled(0, 3, 0)),
        (answer(404, ""), settled(0, 3, 0)),
        (answer(500, ""), settled(0, 3, 0)),
        (answer(302, ""), settled(0, 3, 0)),
    ] {
        let mut exporter = filled(3, now);
        assert_eq!(exporter.handle_answer(heard, now, 0), expected, "{heard:?}");
        assert!(exporter.has_room() && exporter.poll_timeout().is_none());
    }
}

#[test]
fn what_may_work_later_is_tried_again_within_bounds() {
    for heard in [Heard::Nothing, answer(429, ""), answer(502, ""), answer(503, ""), answer(504, "")] {
        let mut now = start();
        let mut exporter = filled(2, now);
        let mut waits = Vec::new();
        for _ in 1..TRIES_MAX {
            assert_eq!(exporter.handle_answer(heard, now, u64::MAX), Settled::default(), "{heard:?}");
            assert!(!exporter.has_room(), "a batch that has failed stays as it is");
            let due = exporter.poll_timeout().unwrap();
            assert!(exporter.poll_transmit(due - Duration::from_nanos(1), true).is_none());
            assert!(exporter.poll_transmit(due, false).is_some());
            waits.push(due - now);
            now = due;
        }
        assert!(waits.windows(2).all(|two| two[0] < two[1]), "{waits:?}");
        assert!(
            waits.iter().all(|wait| *wait >= Duration::from_millis(500) && *wait <= Duration::from_secs(30))
        );
        let lost = exporter.handle_answer(heard, now, 0);
        assert_eq!(lost, Settled { dropped: 2, ..Settled::default() });
        assert!(exporter.has_room());
    }
}

#[test]
fn a_collector_is_left_alone_as_long_as_it_asks_and_not_for_ever() {
    let now = start();
    for (asked, waited) in [(7, 7), (86_400, 30)] {
        let mut exporter = filled(1, now);
        let retry_after = Some(Duration::from_secs(asked));
        assert_eq!(
            exporter.handle_answer(Heard::Answer { status: 503, retry_after, body: "" }, now, 0),
            Settled::default()
        );
        assert_eq!(exporter.poll_timeout(), Some(now + Duration::from_secs(waited)));
    }
}
