//! The lane function over every combination of its inputs, and the order of its reasons case by case.

use super::*;
use crate::breaker::Publish;
use crate::rollout::{Subject, Tier};

const HALF: u32 = 50_000;

fn decision(lane: Option<RealtimeLane>, bucket: Option<Bucket>) -> Decision {
    Decision {
        lane,
        reason: if lane.is_some() { rollout::Reason::InCohort } else { rollout::Reason::OutsideCohort },
        rule: None,
        percent: Percent::from_units(HALF).unwrap(),
        tier: Tier::Env,
        arm: None,
        subject: Subject {
            bucket,
            key: None,
            mirror_bucket: Bucket::of(b"mirror", b"7"),
            segment: None,
            trials: [].into(),
        },
    }
}

/// Some bucket in this range.
fn bucket_in(range: std::ops::Range<u32>) -> Bucket {
    let mut keys = (0_u32..).map(|n| Bucket::of(b"crossfade", n.to_string().as_bytes()));
    keys.find(|bucket| range.contains(&bucket.number())).unwrap()
}

fn admission(phase: Phase, mode: Mode, share_permille: u16) -> Admission {
    Admission { phase, mode, share_permille, publish: Publish::All }
}

const CLOSED: Admission =
    Admission { phase: Phase::Closed, mode: Mode::Auto, share_permille: 1_000, publish: Publish::All };
const MIRROR: Mirror = Mirror { on: true, reads_back: true, percent: Percent::FULL };

fn ready(rollout: &Decision) -> Inputs<'_> {
    Inputs {
        rollout,
        breaker: CLOSED,
        source: Source::Ready,
        offers_realtime: true,
        cold: true,
        mirror: MIRROR,
    }
}

#[test]
fn with_nothing_in_the_way_the_rollout_has_its_lane() {
    for lane in [RealtimeLane::Hot, RealtimeLane::Cold, RealtimeLane::Native] {
        let rollout = decision(Some(lane), Some(bucket_in(0..HALF)));
        let verdict = decide(&ready(&rollout));
        assert_eq!(verdict.lane, Lane::from(lane));
        assert_eq!(verdict.reason.as_str(), "in_cohort");
        assert_eq!(verdict.strip_offer, lane != RealtimeLane::Native);
    }
}

#[test]
fn each_obstacle_is_named() {
    let rollout = decision(Some(RealtimeLane::Hot), Some(bucket_in(0..HALF)));
    let legacy = decision(None, Some(bucket_in(HALF..100_000)));
    let native = decision(Some(RealtimeLane::Native), Some(bucket_in(0..HALF)));
    let cold = decision(Some(RealtimeLane::Cold), Some(bucket_in(0..HALF)));
    let ready = ready(&rollout);
    let breaker = |phase, mode| Inputs { breaker: admission(phase, mode, 0), ..ready };
    let source = |source| Inputs { source, ..ready };
    let cases = [
        (Inputs { rollout: &legacy, ..ready }, "outside_cohort"),
        (source(Source::NotConfigured), "no_supabase"),
        (breaker(Phase::Open, Mode::ForcedOpen), "forced_open"),
        (breaker(Phase::Open, Mode::Auto), "breaker_open"),
        (breaker(Phase::HalfOpen, Mode::Auto), "half_open"),
        (Inputs { breaker: admission(Phase::Closed, Mode::Auto, 0), ..ready }, "paced_return"),
        (source(Source::NotJoined), "realtime_not_ready"),
        (source(Source::Unproven), "realtime_not_ready"),
        (source(Source::Stalled), "side_stalled"),
        (source(Source::Quota), "quota"),
        (Inputs { mirror: Mirror { on: false, ..MIRROR }, ..ready }, "mirror_off"),
        (Inputs { mirror: Mirror { reads_back: false, ..MIRROR }, ..ready }, "no_read_back"),
        (Inputs { rollout: &native, offers_realtime: false, ..ready }, "native_not_offered"),
        (Inputs { rollout: &cold, cold: false, ..ready }, "cold_not_configured"),
        (Inputs { rollout: &cold, source: Source::NotJoined, ..ready }, "realtime_not_ready"),
    ];
    for (inputs, expected) in cases {
        let verdict = decide(&inputs);
        assert_eq!((verdict.lane, verdict.reason.as_str()), (Lane::Legacy, expected));
    }
}

#[test]
fn the_paced_return_takes_the_lower_buckets_first() {
    let quarter = admission(Phase::Closed, Mode::Auto, 250);
    let low = decision(Some(RealtimeLane::Hot), Some(bucket_in(0..12_500)));
    let high = decision(Some(RealtimeLane::Hot), Some(bucket_in(12_500..HALF)));
    let keyless = decision(Some(RealtimeLane::Hot), None);
    let lane = |rollout| {
        let verdict = decide(&Inputs { breaker: quarter, ..ready(rollout) });
        assert_eq!(verdict.admitted.units(), 12_500);
        (verdict.lane, verdict.reason.as_str())
    };
    assert_eq!(lane(&low), (Lane::Hot, "in_cohort"));
    assert_eq!(lane(&high), (Lane::Legacy, "paced_return"));
    assert_eq!(lane(&keyless), (Lane::Legacy, "paced_return"), "allowed, but without a bucket");
    assert_eq!(decide(&ready(&keyless)).lane, Lane::Hot);
}

#[test]
fn native_needs_the_breaker_but_not_our_own_link() {
    let native = decision(Some(RealtimeLane::Native), Some(bucket_in(0..HALF)));
    for source in [Source::NotJoined, Source::Quota, Source::Stalled] {
        assert_eq!(decide(&Inputs { source, ..ready(&native) }).lane, Lane::Native);
    }
    let open = admission(Phase::Open, Mode::Auto, 0);
    assert_eq!(decide(&Inputs { breaker: open, ..ready(&native) }).lane, Lane::Legacy);
}

#[test]
fn open_sessions_move_between_hot_and_legacy_only() {
    let hot = decision(Some(RealtimeLane::Hot), Some(bucket_in(0..HALF)));
    let cold = decision(Some(RealtimeLane::Cold), Some(bucket_in(0..HALF)));
    let out = decision(None, Some(bucket_in(HALF..100_000)));
    let open = admission(Phase::Open, Mode::Auto, 0);
    let tripped = |rollout| Inputs { breaker: open, ..ready(rollout) };
    let no_read_back = Inputs { mirror: Mirror { reads_back: false, ..MIRROR }, ..ready(&cold) };
    let cases = [
        (Lane::Legacy, ready(&hot), Lane::Hot, "in_cohort"),
        (Lane::Hot, ready(&hot), Lane::Hot, "in_cohort"),
        (Lane::Hot, ready(&out), Lane::Legacy, "outside_cohort"),
        (Lane::Hot, tripped(&hot), Lane::Legacy, "breaker_open"),
        (Lane::Legacy, tripped(&hot), Lane::Legacy, "breaker_open"),
        (Lane::Legacy, ready(&cold), Lane::Legacy, "next_connection"),
        (Lane::Hot, ready(&cold), Lane::Hot, "next_connection"),
        (Lane::Hot, no_read_back, Lane::Legacy, "no_read_back"),
        (Lane::Cold, ready(&cold), Lane::Cold, "in_cohort"),
        (Lane::Cold, tripped(&cold), Lane::Legacy, "breaker_open"),
        (Lane::Cold, ready(&hot), Lane::Legacy, "next_connection"),
        (Lane::Native, ready(&out), Lane::Legacy, "outside_cohort"),
    ];
    for (current, inputs, lane, reason) in cases {
        let verdict = reconsider(current, &inputs);
        assert_eq!((verdict.lane, verdict.reason.as_str()), (lane, reason), "{current:?} {inputs:?}");
    }
}

/// Every combination of the inputs that the function looks at.
fn all_inputs(check: impl Fn(Inputs<'_>)) {
    let lanes = [None, Some(RealtimeLane::Hot), Some(RealtimeLane::Cold), Some(RealtimeLane::Native)];
    let buckets = [None, Some(bucket_in(0..500)), Some(bucket_in(20_000..HALF))];
    let sources = [
        Source::NotConfigured,
        Source::NotJoined,
        Source::Unproven,
        Source::Stalled,
        Source::Quota,
        Source::Ready,
    ];
    let phases = [Phase::Closed, Phase::Open, Phase::HalfOpen];
    let bits = [false, true];
    for lane in lanes {
        for rollout in buckets.map(|bucket| decision(lane, bucket)) {
            for (source, phase) in sources.iter().flat_map(|s| phases.map(|p| (*s, p))) {
                for (share, offers_realtime) in [0, 10, 500, 1_000].iter().flat_map(|s| bits.map(|b| (*s, b)))
                {
                    for (on, reads_back) in bits.iter().flat_map(|on| bits.map(|b| (*on, b))) {
                        let mirror = Mirror { on, reads_back, percent: Percent::ZERO };
                        let breaker = admission(phase, Mode::Auto, share);
                        let cold = offers_realtime;
                        check(Inputs { rollout: &rollout, breaker, source, offers_realtime, cold, mirror });
                    }
                }
            }
        }
    }
}

#[test]
fn every_doubt_leads_to_legacy() {
    all_inputs(|inputs| {
        for verdict in [decide(&inputs)].into_iter().chain(Lane::ALL.map(|lane| reconsider(lane, &inputs))) {
            if verdict.lane == Lane::Legacy {
                assert!(!verdict.mirrored, "0 % mirrored");
                continue;
            }
            assert!(inputs.rollout.lane.is_some() && inputs.breaker.serves(), "{inputs:?}");
            assert_ne!(inputs.source, Source::NotConfigured);
            if verdict.lane == Lane::Cold {
                assert!(inputs.cold && inputs.source == Source::Ready, "{inputs:?}");
            }
            if verdict.lane == Lane::Hot {
                assert!(inputs.source == Source::Ready && inputs.mirror.on && inputs.mirror.reads_back);
                assert!(verdict.mirrored, "hot sessions are always mirrored");
            }
        }
    });
}

#[test]
fn a_stricter_breaker_never_moves_anyone_to_realtime() {
    all_inputs(|inputs| {
        for share in [0, 10, 500] {
            let breaker =
                Admission { share_permille: share.min(inputs.breaker.share_permille), ..inputs.breaker };
            let stricter = decide(&Inputs { breaker, ..inputs });
            assert!(stricter.lane == Lane::Legacy || stricter.lane == decide(&inputs).lane, "{inputs:?}");
        }
    });
}

#[test]
fn no_open_session_changes_to_a_lane_its_socket_cannot_have() {
    all_inputs(|inputs| {
        for current in Lane::ALL {
            let lane = reconsider(current, &inputs).lane;
            let possible = match current {
                Lane::Legacy | Lane::Hot => matches!(lane, Lane::Legacy | Lane::Hot),
                Lane::Cold | Lane::Native => lane == current || lane == Lane::Legacy,
            };
            assert!(possible, "{current:?} to {lane:?}");
        }
    });
}

#[test]
fn all_reasons_have_different_words() {
    let rollout = rollout::Reason::ALL.map(Reason::Rollout);
    let words: std::collections::HashSet<_> =
        Reason::OWN.iter().chain(&rollout).map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), Reason::OWN.len() + rollout.len());
}

#[test]
fn an_explanation_says_everything_and_no_key() {
    let rollout = decision(Some(RealtimeLane::Hot), Some(bucket_in(0..HALF)));
    let open = admission(Phase::Open, Mode::Auto, 0);
    let verdict = decide(&Inputs { breaker: open, ..ready(&rollout) });
    let told = serde_json::to_value(explain(&rollout, &verdict)).unwrap();
    assert_eq!(told["lane"], "legacy");
    assert_eq!(told["reason"], "breaker_open");
    assert_eq!(told["rollout_lane"], "hot");
    assert_eq!(told["rollout_reason"], "in_cohort");
    assert_eq!(told["percent"], "50");
    assert_eq!(told["admitted"], "0");
    assert_eq!(told["breaker"], "open");
    assert_eq!(told["bucket"].as_u64(), rollout.subject.bucket.map(|bucket| u64::from(bucket.number())));
}
