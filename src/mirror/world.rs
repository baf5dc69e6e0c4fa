//! A world for the batcher and the publisher: a service that talks, a Realtime that loses, delays, repeats and
//! spoils, one virtual clock, and an oracle that keeps its own books.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use super::batch::{Batch, Batcher, Limits};
use super::event_type::EventType;
use super::faults::{Dice, Faults};
use super::flight::Epoch;
use super::oracle::{Books, is_hot};
use super::publish::Publisher;
use super::record::{Facts, Record};
use super::report::{Ack, PubEvent, Push, Refusal, Returned, Sample};
use super::settings::Settings;
use super::{Sabotage, tests::start};
use crate::budget::{Budget, Payload};
use crate::envelope::Class;
use crate::ledger::{Ledger, Shed};
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

const SESSIONS: u64 = 24;
const SRC: &str = "world";

enum Due {
    Ack(Ulid, Ack),
    Read(Bytes),
    LinkUp,
}

pub(super) struct World {
    dice: Dice,
    faults: Faults,
    now: Instant,
    limit: u32,
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    batcher: Batcher,
    publisher: Publisher,
    seqs: BTreeMap<(u32, Direction), u64>,
    /// Pushes that the link has and its socket has not.
    buffer: Vec<Push>,
    link_up: bool,
    due: BTreeMap<(Instant, u64), Due>,
    dues: u64,
    books: Books,
}

/// A whole life by seed: talk, faults, healing, audit.
pub(super) fn live(seed: u64, sabotage: Option<Sabotage>) -> Result<Account, String> {
    let mut world = World::new(seed, sabotage);
    for _ in 0..25 {
        world.talk();
        let pause = Duration::from_millis(world.dice.below(60));
        world.advance(world.now + pause);
        world.mishap();
    }
    world.heal();
    world.audit()
}

/// What the tests want to know of a life that was in order.
pub(super) struct Account {
    pub(super) confirmed: u64,
    pub(super) shed: u64,
    pub(super) altered: u64,
    pub(super) republished: u64,
    pub(super) duplicate: u64,
    pub(super) late: u64,
    pub(super) collapsed: u64,
    pub(super) continued: u64,
    pub(super) unconfirmed: u64,
    pub(super) split: u64,
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut dice = Dice::new(seed);
        let faults = Faults::choose(&mut dice);
        let limit = [950, 1600, 5000, 1 << 20][dice.below(4) as usize];
        let mut batcher = Batcher::new(Limits { bytes: [20_000, 1 << 20][dice.below(2) as usize] });
        let epoch = Epoch { at: start(), unix_ms: 1_700_000_000_000 };
        let mut publisher = Publisher::new(Settings::new(SRC, seed), epoch);
        batcher.sabotage = sabotage;
        publisher.sabotage = sabotage;
        publisher.handle_link_up(start());
        Self {
            dice,
            faults,
            now: start(),
            limit,
            ledger: Ledger::new(),
            budget: Budget::new(1 << 24),
            batcher,
            publisher,
            seqs: BTreeMap::new(),
            buffer: Vec::new(),
            link_up: true,
            due: BTreeMap::new(),
            dues: 0,
            books: Books::default(),
        }
    }

    /// The service says something to one session or to many, or a client says something.
    fn talk(&mut self) {
        for _ in 0..self.dice.below(4) {
            let class = Class::ALL[self.dice.below(4) as usize];
            let body = match self.dice.below(40) {
                0 => vec![b'x'; 3000],
                1 => vec![0xff, self.dice.below(4) as u8],
                n => format!("{} says {}", class.as_str(), n % 4).into_bytes(),
            };
            let crowd = match self.dice.below(3) {
                0 => SESSIONS,
                1 => 5,
                _ => 1,
            };
            let dir = if self.dice.chance(25) { Direction::Up } else { Direction::Down };
            let first = self.dice.below(SESSIONS);
            for i in 0..crowd {
                self.say(((first + i) % SESSIONS) as u32, dir, class, &body);
            }
        }
    }

    fn say(&mut self, session: u32, dir: Direction, class: Class, body: &[u8]) {
        let seq = self.seqs.entry((session, dir)).or_insert(0);
        *seq += 1;
        let key = Key { session: SessionNo(session), dir, seq: Seq(*seq) };
        let awaited = is_hot(key);
        let entry = self.ledger.open(key);
        let facts = Facts {
            op: Opcode::Text,
            kind: EventType::new(class.as_str()),
            class,
            path: Arc::from("/ws"),
            at: self.now,
            shared: false,
            marks: crate::mirror::classify::Marks::default(),
            redacted: false,
        };
        let payload = Payload::copy_from(body, &self.budget).expect("the world's budget is ample");
        self.books.said.insert(key, (body.to_vec(), class));
        if let Err(refused) = self.batcher.push(Record::new(payload, facts, entry, awaited), self.now) {
            let awaited = refused.shed();
            self.tell(awaited);
        }
    }

    fn tell(&mut self, awaited: Vec<Key>) {
        for key in awaited {
            *self.books.told.entry(key).or_insert(0) += 1;
        }
    }

    fn mishap(&mut self) {
        if self.link_up && self.dice.chance(self.faults.link_down) {
            self.write(true);
            self.buffer.clear();
            self.link_up = false;
            self.due.retain(|_, due| matches!(due, Due::LinkUp));
            self.publisher.handle_link_down(self.now);
            let away = [50, 2000, 40_000][self.dice.below(3) as usize];
            self.later(Duration::from_millis(away), Due::LinkUp);
        }
        if self.dice.chance(self.faults.abandon) {
            let awaited = self.batcher.shed_all(Shed::BreakerOpen);
            self.tell(awaited);
            self.publisher.abandon(Shed::BreakerOpen);
        }
        if self.dice.chance(10) && self.publisher.slots_free() > 0 {
            let id = self.publisher.submit(Batch::sentinel(), self.now);
            self.books.submitted.insert(id);
        }
        self.pump();
    }

    /// Everything that can happen without time passing.
    fn pump(&mut self) {
        loop {
            let slots = self.publisher.slots_free();
            let batch = self.batcher.take(slots, self.limit, self.now);
            let idle = batch.is_none();
            if let Some(batch) = batch {
                let id = self.publisher.submit(batch, self.now);
                self.books.submitted.insert(id);
            }
            while let Some(refused) = self.batcher.poll_refused() {
                let awaited = refused.shed();
                self.tell(awaited);
            }
            while let Some(push) = self.publisher.poll_transmit(self.now) {
                self.buffer.push(push);
            }
            self.write(false);
            self.listen();
            if idle {
                return;
            }
        }
    }

    /// The socket takes the pushes, or only some of them.
    fn write(&mut self, partly: bool) {
        let keep = if partly { self.dice.below(self.buffer.len() as u64 + 1) as usize } else { 0 };
        let rest = self.buffer.len() - keep;
        for push in self.buffer.drain(..rest).collect::<Vec<_>>() {
            self.publisher.handle_sent(push.batch);
            self.realtime(push);
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.publisher.poll_event() {
            match event {
                PubEvent::Returned { key, proof } => {
                    self.tell(vec![key]);
                    if proof == Returned::Matched {
                        self.books.matched.insert(key);
                    }
                }
                PubEvent::Shed { key, .. } => self.tell(vec![key]),
                PubEvent::Outcome { batch, sample } => {
                    if self.books.outcomes.insert(batch, sample).is_some() {
                        self.books.complain(format!("two samples of {batch}"));
                    }
                }
                PubEvent::Settled { .. } | PubEvent::Stored { .. } => {}
                PubEvent::Late { .. } | PubEvent::Unconfirmed { .. } => {}
            }
        }
    }

    /// Realtime takes one push.
    fn realtime(&mut self, push: Push) {
        self.books.inspect(&push, self.limit);
        let faults = self.faults;
        let refused = self.dice.chance(faults.refused);
        let ack = match self.dice.below(3) {
            _ if !refused => Ack::Ok,
            0 => Ack::Refused(Refusal::TooLarge),
            _ => Ack::Refused(Refusal::Other),
        };
        let after = Duration::from_millis(1 + self.dice.below(5));
        if self.dice.chance(faults.ack_timeout) {
            self.later(Duration::from_secs(5), Due::Ack(push.batch, Ack::Timeout));
        } else if !self.dice.chance(faults.ack_lost) {
            self.later(after, Due::Ack(push.batch, ack));
        }
        if refused || self.dice.chance(faults.lost) {
            return;
        }
        for _ in 0..1 + u64::from(self.dice.chance(faults.twice)) {
            let away = match () {
                () if self.dice.chance(faults.very_slow) => 11_000,
                () if self.dice.chance(faults.slow) => 900,
                () => 8,
            };
            let body = self.spoil(&push.body);
            let away = Duration::from_millis(1 + self.dice.below(away));
            self.later(away, Due::Read(body));
        }
    }

    fn spoil(&mut self, body: &Bytes) -> Bytes {
        if !self.dice.chance(self.faults.spoilt) {
            return body.clone();
        }
        let mut body = body.to_vec();
        // Most accidents hit the data, where only the checksum can tell.
        let data = body.windows(8).position(|window| window == b"\"data\":\"");
        let at = match data.filter(|_| self.dice.chance(80)) {
            Some(data) => data + 8,
            None => self.dice.below(body.len() as u64) as usize,
        };
        body[at] ^= 1;
        Bytes::from(body)
    }

    fn later(&mut self, after: Duration, due: Due) {
        self.dues += 1;
        self.due.insert((self.now + after, self.dues), due);
    }

    /// Runs to `until`, stopping wherever something is due.
    fn advance(&mut self, until: Instant) {
        loop {
            self.pump();
            let slots = self.publisher.slots_free() > 0;
            let own = self
                .batcher
                .poll_timeout()
                .filter(|_| slots)
                .into_iter()
                .chain(self.publisher.poll_timeout());
            let next = self.due.keys().next().map(|(at, _)| *at).into_iter().chain(own).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let due = entry.remove();
                self.happen(due);
            }
            self.publisher.handle_timeout(self.now);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Ack(batch, ack) => self.publisher.handle_ack(batch, ack, self.now),
            Due::Read(body) => {
                self.books.note_arrivals(&body);
                self.publisher.handle_readback(&body, self.now);
            }
            Due::LinkUp => {
                self.link_up = true;
                self.publisher.handle_link_up(self.now);
            }
        }
    }

    /// No more faults, and time for everything to come to rest.
    fn heal(&mut self) {
        let calm = self.faults.none();
        let lost = if self.faults.deaf { self.faults.lost } else { 0 };
        self.faults = Faults { lost, ..Faults::default() };
        if calm {
            self.talk();
        }
        self.advance(self.now + Duration::from_secs(120));
        if calm && !self.batcher.is_empty() {
            self.books.complain("the batcher is stuck".to_owned());
        }
        if calm {
            let account = self.ledger.account();
            let unread = account.shed(Shed::Unconfirmed) + account.shed(Shed::Disconnected);
            if unread > 0 || account.in_flight > 0 {
                self.books.complain(format!("{unread} lost, {} open in a calm world", account.in_flight));
            }
            if self.books.outcomes.values().any(|sample| matches!(sample, Sample::Bad(_)) && !self.slow()) {
                self.books.complain("a bad sample in a calm world".to_owned());
            }
        }
    }

    fn slow(&self) -> bool {
        self.publisher.tally().late > 0
    }

    fn audit(mut self) -> Result<Account, String> {
        self.pump();
        let account = self.ledger.account();
        let books = &mut self.books;
        if !self.publisher.is_empty() || !self.batcher.is_empty() || account.in_flight > 0 {
            books.complain(format!("not at rest: {} tokens open", account.in_flight));
        }
        books.audit(&account);
        if self.budget.used() > 0 {
            books.complain(format!("{} bytes are still paid for", self.budget.used()));
        }
        let (tally, counts) = (*self.publisher.tally(), self.batcher.counts());
        if tally.matched != account.confirmed || tally.missing != account.shed(Shed::Unconfirmed) {
            books.complain("tally and ledger differ".to_owned());
        }
        let report = Account {
            confirmed: account.confirmed,
            shed: account.shed_total(),
            altered: tally.altered,
            republished: tally.republished,
            duplicate: tally.duplicate,
            late: tally.late,
            collapsed: counts.collapsed,
            continued: counts.continued,
            split: self.batcher.counts().split,
            unconfirmed: account.shed(Shed::Unconfirmed),
        };
        // Ends the tokens of a broken world, which would otherwise be counted by their drop.
        drop(self.batcher.shed_all(Shed::Shutdown));
        self.publisher.abandon(Shed::Shutdown);
        books.broken.take().map_or(Ok(report), Err)
    }
}
