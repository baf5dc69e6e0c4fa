//! The machine on a virtual clock: the four corners, what must never become a verdict, bounds, and a small model with
//! random traffic. Each rule that is broken on purpose must be noticed.

use super::*;
use crate::mirror::rules::glob::Glob;

/// One rule of the machine broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// Who would be shown too much is called who would lose messages, and the reverse.
    SwapSides,
    /// A refused join is taken for a granted one.
    IgnoreRefusals,
    /// No answer is taken for a refusal.
    TakeAnythingForARefusal,
    /// Who is not known to have received has not received.
    BelieveSilence,
}

const WINDOW: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
fn epoch() -> Instant {
    Instant::now()
}

/// Sessions, the numbers of their messages, and policies that say who is allowed what.
struct World {
    parity: Parity,
    now: Instant,
    next: BTreeMap<u32, Seq>,
    allowed: Vec<(u32, &'static str, Standing)>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let now = epoch();
        Self { parity: Parity::new(settings, now), now, next: BTreeMap::new(), allowed: Vec::new() }
    }

    fn of(sabotage: Option<Sabotage>) -> Self {
        let mut world = Self::new(Settings { window: WINDOW, ..Settings::default() });
        world.parity.sabotage = sabotage;
        world
    }

    fn open(&mut self, no: u32) -> bool {
        self.next.insert(no, Seq::FIRST);
        let id = SessionId::from_bits(u128::from(no));
        self.parity.opened(SessionNo(no), id, Some(format!("key:{no}")), self.now)
    }

    /// A message goes down, of this topic or of none.
    fn down(&mut self, no: u32, topic: Option<&str>) {
        let seq = self.next[&no];
        self.next.insert(no, seq.next());
        self.parity.passed(SessionNo(no), seq, self.now);
        if let Some(topic) = topic {
            self.parity.delivered(SessionNo(no), &topic.into(), self.now);
        }
    }

    /// A message whose copy never reached us.
    fn lost(&mut self, no: u32) {
        let seq = self.next[&no];
        self.next.insert(no, seq.next());
    }

    fn allow(&mut self, no: u32, topic: &'static str, standing: Standing) {
        self.allowed.push((no, topic, standing));
    }

    /// Lets seconds pass; questions are answered at once by what is allowed, and refused otherwise.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.parity.advance(0, self.now);
            while let Some(question) = self.parity.poll_question(self.now) {
                let known = self
                    .allowed
                    .iter()
                    .find(|(no, topic, _)| *no == question.session.0 && **topic == *question.topic);
                let standing = known.map_or(Standing::Refused, |(.., standing)| *standing);
                self.parity.answer(question.id, standing, self.now);
            }
        }
    }

    fn checks(&self) -> [u64; 4] {
        self.parity.book().checks().map(|(_, count)| count)
    }
}

const ALLOWED: Standing = Standing::Allowed;

/// Alice receives and may; Bob may and never receives; Carol receives and may not; Dave neither; Eve's token is old.
fn five(sabotage: Option<Sabotage>) -> World {
    let mut world = World::of(sabotage);
    for no in 1..=5 {
        assert!(world.open(no));
    }
    for no in [1, 2] {
        world.allow(no, "room", ALLOWED);
    }
    world.allow(5, "room", Standing::Unknown(Unknown::Expired));
    world.pass(1);
    for no in [1, 3, 5] {
        world.down(no, Some("room"));
    }
    world.pass(2);
    (1..=5).for_each(|no| world.down(no, None));
    world.pass(90);
    world
}

#[test]
fn the_four_corners_and_what_is_unknown() {
    let world = five(None);
    assert_eq!(world.checks(), [2, 1, 1, 1], "agree, over, under, unknown");
    assert_eq!(world.parity.book().without(Unknown::Expired), 1);
    let samples: Vec<_> = world.parity.book().samples().cloned().collect();
    let of = |verdict| {
        let found: Vec<_> = samples.iter().filter(|one| one.verdict == verdict).collect();
        assert_eq!(found.len(), 1, "{samples:?}");
        (found[0].topic.as_str(), found[0].who.as_deref().unwrap())
    };
    assert_eq!((of(Verdict::Over), of(Verdict::Under)), (("room", "key:2"), ("room", "key:3")));
    let summary = world.parity.summary();
    assert_eq!((summary.watched, summary.pairs, summary.unproven), (5, 5, 0));
    let again: Summary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
    assert_eq!(again, summary);
}

#[test]
fn every_broken_rule_is_noticed() {
    let good = five(None).parity.summary();
    for sabotage in [Sabotage::SwapSides, Sabotage::IgnoreRefusals, Sabotage::TakeAnythingForARefusal] {
        assert_ne!(five(Some(sabotage)).parity.summary(), good, "{sabotage:?}");
    }
    let quiet = quiet(None);
    assert_eq!(quiet.checks(), [1, 0, 0, 0]);
    assert_ne!(self::quiet(Some(Sabotage::BelieveSilence)).checks(), quiet.checks());
}

/// Bob may read and nothing at all is seen of him: his stream may be lost.
fn quiet(sabotage: Option<Sabotage>) -> World {
    let mut world = World::of(sabotage);
    world.open(1);
    world.open(2);
    (1..=2).for_each(|no| world.allow(no, "room", ALLOWED));
    world.pass(1);
    world.down(1, Some("room"));
    world.pass(90);
    world
}

#[test]
fn silence_proves_nothing() {
    let world = quiet(None);
    let book = world.parity.book();
    assert_eq!((book.pairs, book.unproven), (1, 1));
}

#[test]
fn a_gap_proves_nothing_and_neither_does_what_came_before_or_after() {
    for (before, lost, after) in [(true, true, true), (false, false, false), (true, false, false)] {
        let mut world = World::of(None);
        world.open(1);
        world.open(2);
        world.allow(2, "room", ALLOWED);
        world.pass(1);
        if before {
            world.down(2, None);
        }
        world.pass(1);
        world.down(1, Some("room"));
        if lost {
            world.lost(2);
        }
        world.pass(2);
        if after {
            world.down(2, None);
        }
        world.pass(90);
        assert_eq!(world.parity.book().of(Verdict::Over), 0, "{before} {lost} {after}");
        assert_eq!(world.parity.book().unproven, 1, "{before} {lost} {after}");
    }
}

#[test]
fn who_came_later_is_not_expected_to_have_received() {
    let mut world = World::of(None);
    world.open(1);
    world.pass(1);
    world.down(1, Some("room"));
    world.pass(1);
    world.open(2);
    world.allow(2, "room", ALLOWED);
    world.pass(2);
    world.down(2, None);
    world.pass(90);
    assert_eq!((world.checks()[1], world.parity.book().unproven), (0, 1));
}

#[test]
fn a_broadcast_on_the_edge_of_a_window_is_one_broadcast() {
    let mut world = World::of(None);
    for no in [1, 2] {
        world.open(no);
        world.allow(no, "room", ALLOWED);
    }
    world.pass(59);
    world.down(1, Some("room"));
    world.pass(1); // the window ends between the copies
    world.down(2, Some("room"));
    world.pass(3);
    (1..=2).for_each(|no| world.down(no, None));
    world.pass(200);
    assert_eq!(world.checks()[1], 0, "{:?}", world.parity.summary());
    assert!(world.checks()[0] >= 2);
}

#[test]
fn what_comes_between_question_and_answer_counts() {
    let mut world = World::of(None);
    world.open(1);
    world.open(2);
    world.pass(1);
    world.down(1, Some("room"));
    world.pass(2);
    world.down(2, None);
    let mut asked = Vec::new();
    for _ in 0..90 {
        world.now += Duration::from_secs(1);
        world.parity.advance(0, world.now);
        if let Some(question) = world.parity.poll_question(world.now) {
            if question.session == SessionNo(2) {
                world.down(2, Some("room"));
            }
            world.parity.answer(question.id, ALLOWED, world.now);
            asked.push(question.session.0);
        }
    }
    asked.sort_unstable();
    assert_eq!((asked, world.checks()), (vec![1, 2], [2, 0, 0, 0]));
}

#[test]
fn questions_are_paced_and_an_answer_that_never_comes_is_unknown() {
    let settings = Settings { probes_per_minute: 6, window: WINDOW, ..Settings::default() };
    let mut world = World::new(settings);
    for no in 1..=9 {
        world.open(no);
    }
    let mut asked = Vec::new();
    for second in 0..600_u64 {
        world.now += Duration::from_secs(1);
        (1..=9).for_each(|no| world.down(no, Some("room")));
        world.parity.advance(0, world.now);
        if let Some(question) = world.parity.poll_question(world.now) {
            asked.push((second, question.id));
            if question.id > 0 {
                world.parity.answer(question.id, ALLOWED, world.now);
            }
        }
    }
    assert!(asked.windows(2).all(|two| two[1].0 - two[0].0 >= 10), "{asked:?}");
    assert!(asked[1].0 - asked[0].0 >= ANSWER_MAX.as_secs(), "one at a time: {asked:?}");
    assert_eq!(world.parity.book().without(Unknown::Link), 1);
    world.parity.answer(0, ALLOWED, world.now);
    assert_eq!(world.checks()[0], asked.len() as u64 - 1, "an answer that came too late is nothing");
}

#[test]
fn everything_is_bounded_and_old_ones_make_room() {
    let settings = Settings { users: 3, topics: 2, window: WINDOW, ..Settings::default() };
    let mut world = World::new(settings);
    assert_eq!([1, 2, 3, 4].map(|no| world.open(no)), [true, true, true, false]);
    let mut left = Vec::new();
    for second in 0..600 {
        world.now += Duration::from_secs(1);
        for topic in ["a", "b", "c"] {
            (1..=4).for_each(|no| world.down(no, Some(topic)));
        }
        // One that found no seat comes once.
        left.extend(world.parity.advance(u64::from(second > 100), world.now));
        assert!(world.parity.due.len() <= 6 && world.parity.heard.iter().all(|heard| heard.len() <= 2));
    }
    assert!(world.parity.book().topics_left > 0);
    assert_eq!((left.len(), world.parity.watched()), (1, 2), "after its rounds, for the one who waited");
}

#[test]
fn only_named_topics_are_looked_at() {
    let only = vec![Glob::name("account:*")];
    let mut world = World::new(Settings { only, window: WINDOW, ..Settings::default() });
    for no in [1, 2] {
        world.open(no);
        world.allow(no, "room", ALLOWED);
        world.allow(no, "account:7", ALLOWED);
    }
    world.pass(1);
    world.down(1, Some("room"));
    world.down(1, Some("account:7"));
    world.pass(2);
    world.down(2, None);
    world.pass(90);
    assert_eq!(world.checks(), [1, 1, 0, 0]);
}

#[test]
fn a_session_that_receives_more_than_is_remembered_proves_nothing() {
    let mut world = World::of(None);
    world.open(1);
    world.open(2);
    world.allow(2, "room", ALLOWED);
    world.pass(1);
    world.down(1, Some("room"));
    for n in 0..=RECEIVED_MAX {
        world.down(2, Some(&format!("other:{n}")));
    }
    world.pass(2);
    world.down(2, None);
    world.pass(90);
    assert_eq!(world.parity.book().of(Verdict::Over), 0);
}

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Random traffic with losses: whoever really receives a topic in every window is never called over-delivered, and
/// every verdict is the one that the policies and the service's list of subscribers say.
#[test]
fn random_traffic_never_makes_a_false_verdict() {
    let mut dice = 42_u64;
    let mut roll = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut found = [0_usize; 2];
    for _ in 0..40 {
        let mut world = World::of(None);
        let mut members = Vec::new();
        for no in 1..=6 {
            world.open(no);
            for topic in TOPICS {
                if roll(2) == 0 {
                    world.allow(no, topic, ALLOWED);
                }
                if roll(2) == 0 {
                    members.push((no, topic));
                }
            }
        }
        for _ in 0..150 {
            let topic = TOPICS[roll(3) as usize];
            for no in 1..=6 {
                match (roll(10), members.contains(&(no, topic))) {
                    (0, _) => world.lost(no),
                    (_, true) => world.down(no, Some(topic)),
                    (_, false) => world.down(no, None),
                }
            }
            world.pass(2);
        }
        for sample in world.parity.book().samples() {
            let no: u32 = sample.who.as_deref().unwrap().trim_start_matches("key:").parse().unwrap();
            let member = members.iter().any(|(one, topic)| *one == no && *topic == sample.topic);
            let allowed = world.allowed.iter().any(|(one, topic, _)| *one == no && *topic == sample.topic);
            let expected = if member { Verdict::Under } else { Verdict::Over };
            assert!(member != allowed && sample.verdict == expected, "{sample:?} {member} {allowed}");
            found[usize::from(member)] += 1;
        }
    }
    assert!(found.iter().all(|found| *found > 20), "something was judged: {found:?}");
}
