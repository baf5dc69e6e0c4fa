//! Topics, who listens to them, and the links that carry them. One thread owns it all.
//!
//! A topic is joined once for each token (all clients without one share the anon key's), so that the policies are asked
//! for every token, and what a token may not read is in no log that another one is given. Each has a connection of its
//! own ([`CHANNELS_MAX`]): Realtime holds a whole socket for 5 s over a refused join, so that on a shared one whoever
//! asks for a forbidden topic would silence everybody else's.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::channel::{Channel, ChannelRef, State, denies};
use super::figures::{ColdFigures, add};
use super::fine::Plan;
use super::outlet::Outlet;
use crate::app::seed;
use crate::app::side::clock;
use crate::cold::admit::{Guest, Source};
use crate::cold::log::Log;
use crate::cold::{Ending, Frame, Resume, wire};
use crate::realtime::client::{self, Commands, Queues};
use crate::realtime::key::ApiKey;
use crate::realtime::link::{
    Broadcast, Changes, Join, LinkEvent, Outcome, Push, PushRef, TRIAL_EVENT, TopicNo,
};
use crate::realtime::message::Encoding;
use crate::realtime::reason::Reason;
use sha2::{Digest as _, Sha256};

/// Topics of one connection; see the module before you raise it.
const CHANNELS_MAX: usize = 1;
/// Unacknowledged messages of one topic.
const IN_FLIGHT_MAX: usize = 1_024;
/// Clients whose position is remembered. Beyond: they are told `fresh`.
const TICKETS_MAX: usize = 20_000;
/// How often clients of an interrupted topic are closed, a few at a time.
const TURN: Duration = Duration::from_millis(20);

/// The token, by its hash; `None` is the anon key.
type Credential = Option<[u8; 32]>;

struct Carrier {
    credential: Credential,
    commands: Commands,
    channels: HashMap<TopicNo, ChannelRef>,
}

/// Where a client stood when it left.
struct Ticket {
    channel: u64,
    position: u64,
    at: Instant,
}

/// See the module.
pub(super) struct Hub {
    pub(super) plan: Plan,
    pub(super) figures: Arc<ColdFigures>,
    carriers: HashMap<u64, Carrier>,
    channels: HashMap<(Credential, String), ChannelRef>,
    tickets: HashMap<(crate::rollout::KeyHash, String), Ticket>,
    next: u64,
    pub(super) sessions: usize,
}

/// No room for another topic.
pub(super) struct NoRoom;

impl Hub {
    pub(super) fn new(mut plan: Plan, figures: Arc<ColdFigures>) -> Self {
        plan.link.limits.in_flight_max = IN_FLIGHT_MAX;
        Self {
            plan,
            figures,
            carriers: HashMap::new(),
            channels: HashMap::new(),
            tickets: HashMap::new(),
            next: 0,
            sessions: 0,
        }
    }

    /// A number that was not used before.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The topic of a guest, joined or asked for now.
    pub(super) fn channel(own: &Rc<RefCell<Self>>, guest: &Guest) -> Result<ChannelRef, NoRoom> {
        let credential = guest.token.as_ref().map(|token| Sha256::digest(token).into());
        let mut this = own.borrow_mut();
        let key = (credential, guest.topic.clone());
        if let Some(channel) = this.channels.get(&key) {
            return Ok(Rc::clone(channel));
        }
        if this.channels.len() >= this.plan.limits.topics_max {
            return Err(NoRoom);
        }
        let roomy =
            |carrier: &Carrier| carrier.credential == credential && carrier.channels.len() < CHANNELS_MAX;
        let link = this.carriers.iter().find(|(_, carrier)| roomy(carrier)).map(|(id, _)| *id);
        let link = link.unwrap_or_else(|| this.connect(own, credential, guest.token.as_deref()));
        let number = this.number();
        let no = TopicNo(u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0));
        let join = this.join(&guest.topic);
        let channel = Rc::new(RefCell::new(Channel {
            id: number,
            link,
            no,
            state: State::Joining,
            changed: Rc::default(),
            log: Log::default(),
            clients: BTreeMap::new(),
            pushes: HashMap::new(),
            idle_since: Some(clock()),
        }));
        let carrier = this.carriers.get_mut(&link).ok_or(NoRoom)?;
        carrier.commands.try_join(no, join).map_err(|_| NoRoom)?;
        carrier.channels.insert(no, Rc::clone(&channel));
        this.channels.insert(key, Rc::clone(&channel));
        this.count();
        Ok(channel)
    }

    fn join(&self, topic: &str) -> Join {
        let changes = match &self.plan.rules.source {
            Source::Topic(_) => Vec::new(),
            Source::Table(table) => vec![Changes {
                event: "INSERT".to_owned(),
                schema: "public".to_owned(),
                table: table.clone(),
                filter: self.plan.filter.clone(),
            }],
        };
        // Our own broadcasts come back, because other clients of ours wait for them on the same channel.
        Join { receive_own: true, changes, ..Join::new(topic, self.plan.private) }
    }

    /// Opens a link for this token.
    fn connect(&mut self, own: &Rc<RefCell<Self>>, credential: Credential, token: Option<&str>) -> u64 {
        let mut link = self.plan.link.clone();
        link.token = token.map(ApiKey::new);
        let mut config = client::Config::new(link, seed());
        config.queues = Queues { commands: IN_FLIGHT_MAX, events: IN_FLIGHT_MAX };
        let (handle, shell) = client::start(config);
        let (commands, mut events) = handle.into_parts();
        let id = self.number();
        self.carriers.insert(id, Carrier { credential, commands, channels: HashMap::new() });
        tokio::task::spawn_local(shell);
        let own = Rc::clone(own);
        tokio::task::spawn_local(async move {
            while let Some(event) = events.recv().await {
                own.borrow_mut().heard(id, event);
            }
            own.borrow_mut().lost(id);
        });
        id
    }

    /// What a link says.
    fn heard(&mut self, link: u64, event: LinkEvent) {
        let find = |topic: &TopicNo| self.carriers.get(&link)?.channels.get(topic).map(Rc::clone);
        match event {
            LinkEvent::Joined { topic } if matches!(self.plan.rules.source, Source::Topic(_)) => {
                if let Some(channel) = find(&topic) {
                    channel.borrow_mut().turn(State::Joined);
                }
            }
            // Rows come only from here on.
            LinkEvent::System { topic, extension, reason: None, .. } if extension == "postgres_changes" => {
                if let Some(channel) = find(&topic) {
                    channel.borrow_mut().turn(State::Joined);
                }
            }
            LinkEvent::Left { topic, reason, .. } => {
                if let Some(channel) = find(&topic) {
                    self.interrupted(&channel, reason);
                }
            }
            LinkEvent::GiveUp { topic: Some(topic), reason } => {
                if let Some(channel) = find(&topic) {
                    self.interrupted(&channel, reason);
                    let mut channel = channel.borrow_mut();
                    if channel.state == State::Joining {
                        channel.turn(State::Failed);
                    }
                }
            }
            LinkEvent::Down { reason, .. } => {
                let carrier = self.carriers.get(&link);
                let channels: Vec<_> =
                    carrier.iter().flat_map(|one| one.channels.values().map(Rc::clone)).collect();
                channels.iter().for_each(|channel| self.interrupted(channel, reason));
            }
            LinkEvent::Broadcast(broadcast) => {
                if let Some(channel) = find(&broadcast.topic) {
                    self.broadcast(&mut channel.borrow_mut(), &broadcast);
                }
            }
            LinkEvent::Change { topic, payload } => {
                let frame = wire::row(&payload.0, self.plan.column.as_deref());
                if let (Some(channel), Some(frame)) = (find(&topic), frame) {
                    self.deliver(&mut channel.borrow_mut(), frame, None);
                }
            }
            LinkEvent::Ack { topic, push, outcome } => {
                if let Some(channel) = find(&topic) {
                    self.answered(&mut channel.borrow_mut(), push, outcome);
                }
            }
            _ => {}
        }
    }

    fn broadcast(&self, channel: &mut Channel, broadcast: &Broadcast) {
        // The link's own attempt whether it may write.
        if broadcast.event == TRIAL_EVENT {
            return;
        }
        let down = wire::down(&broadcast.payload, broadcast.encoding == Encoding::Json);
        self.deliver(channel, down.frame, down.from.as_deref());
    }

    fn deliver(&self, channel: &mut Channel, frame: Frame, from: Option<&str>) {
        let limits = &self.plan.limits;
        let position = channel.log.push(frame.clone(), limits, clock());
        channel.clients.retain(|_, client| {
            let own = !self.plan.echo && from == Some(client.name.as_str());
            own || client.offer(position, &frame, limits.outbox_bytes)
        });
    }

    fn answered(&self, channel: &mut Channel, push: PushRef, outcome: Outcome) {
        let Some(client) = channel.pushes.remove(&push) else { return };
        client.answered();
        if outcome == Outcome::Accepted {
            return add(&self.figures.up);
        }
        add(&self.figures.up_lost);
        client.end(match outcome {
            // On a private topic silence is how a missing policy looks.
            Outcome::TimedOut if self.plan.private => Ending::WriteDenied,
            Outcome::Refused(reason) | Outcome::Lost(reason) if denies(reason) => Ending::WriteDenied,
            _ => Ending::NotDelivered,
        });
    }

    /// A topic is not heard any more: its clients may miss something, and are told so, a few at a time.
    fn interrupted(&self, channel: &ChannelRef, reason: Reason) {
        let mut this = channel.borrow_mut();
        let was = this.state;
        this.turn(if denies(reason) { State::Denied } else { State::Joining });
        if was != State::Joined {
            return;
        }
        add(&self.figures.interruptions);
        this.log.interrupted();
        let ending = match reason {
            Reason::TokenExpired => Ending::TokenExpired,
            _ if denies(reason) => Ending::NotAuthorized,
            _ => Ending::Gap,
        };
        let clients: Vec<_> = std::mem::take(&mut this.clients).into_values().collect();
        this.idle_since = Some(clock());
        let a_turn = (self.plan.limits.closes_per_s as usize / 50).max(1);
        tokio::task::spawn_local(async move {
            for some in clients.chunks(a_turn) {
                some.iter().for_each(|client| client.end(ending));
                tokio::time::sleep(TURN).await;
            }
        });
    }

    /// A link has ended.
    fn lost(&mut self, link: u64) {
        let Some(carrier) = self.carriers.remove(&link) else { return };
        for channel in carrier.channels.values() {
            self.interrupted(channel, Reason::ConnectionLost);
        }
        self.channels.retain(|_, channel| channel.borrow().link != link);
        self.count();
    }

    /// A client begins to listen. Gives what it missed, and what it is told about that.
    pub(super) fn enter(
        &mut self,
        channel: &ChannelRef,
        outlet: impl FnOnce(u64) -> Rc<Outlet>,
        (key, topic): (Option<crate::rollout::KeyHash>, &str),
    ) -> (u64, Rc<Outlet>, Resume, Vec<Frame>) {
        let number = self.number();
        let mut this = channel.borrow_mut();
        this.log.trim(&self.plan.limits, clock());
        let ticket = key.and_then(|key| self.tickets.remove(&(key, topic.to_owned())));
        let (resume, missed) = match ticket {
            None => (Resume::Fresh, this.log.last(self.plan.limits.snapshot)),
            Some(ticket) => match this.log.since(ticket.position).filter(|_| ticket.channel == this.id) {
                Some(missed) => (Resume::Resumed, missed),
                None => (Resume::Gap, this.log.last(self.plan.limits.snapshot)),
            },
        };
        let outlet = outlet(this.log.position() - missed.len() as u64);
        this.clients.insert(number, Rc::clone(&outlet));
        this.idle_since = None;
        self.sessions += 1;
        self.figures.resumed(resume);
        (number, outlet, resume, missed)
    }

    /// A client has left; where it stood is remembered if nobody else could be taken for it.
    pub(super) fn leave(&mut self, channel: &ChannelRef, number: u64, (outlet, topic): (&Outlet, &str)) {
        self.sessions = self.sessions.saturating_sub(1);
        let mut this = channel.borrow_mut();
        this.clients.remove(&number);
        if this.clients.is_empty() && this.idle_since.is_none() {
            this.idle_since = Some(clock());
        }
        let Some(key) = outlet.key else { return };
        let another = this.clients.values().any(|other| other.key == Some(key));
        if !another && self.tickets.len() < TICKETS_MAX {
            let ticket = Ticket { channel: this.id, position: outlet.position(), at: clock() };
            self.tickets.insert((key, topic.to_owned()), ticket);
        }
    }

    /// Sends a client's message; `false`: it was not taken.
    pub(super) fn send(
        &mut self,
        channel: &ChannelRef,
        outlet: &Rc<Outlet>,
        message: (String, bytes::Bytes),
    ) -> bool {
        let id = PushRef(self.number());
        let mut this = channel.borrow_mut();
        let (event, body) = message;
        let push = Push { id, topic: this.no, event, body, encoding: Encoding::Json };
        let taken = this.state == State::Joined
            && self.carriers.get(&this.link).is_some_and(|carrier| carrier.commands.try_push(push).is_ok());
        if taken {
            outlet.sent();
            this.pushes.insert(id, Rc::clone(outlet));
        } else {
            add(&self.figures.up_lost);
        }
        taken
    }

    /// Leaves topics that nobody has listened to for as long as the log is kept, and forgets who left before that.
    pub(super) fn sweep(&mut self, now: Instant) {
        let limits = self.plan.limits;
        let over = |since: Instant| now.saturating_duration_since(since) > limits.log_age;
        self.tickets.retain(|_, ticket| !over(ticket.at));
        let carriers = &mut self.carriers;
        self.channels.retain(|_, channel| {
            let mut this = channel.borrow_mut();
            this.log.trim(&limits, now);
            let dead = matches!(this.state, State::Denied | State::Failed) && this.clients.is_empty();
            let keep = !dead && !this.idle_since.is_some_and(over);
            if !keep && let Some(carrier) = carriers.get_mut(&this.link) {
                // A busy link is asked again at the next sweep.
                if carrier.commands.try_leave(this.no).is_err() {
                    return true;
                }
                carrier.channels.remove(&this.no);
            }
            keep
        });
        // With its last commands gone, a link says goodbye and ends.
        self.carriers.retain(|_, carrier| !carrier.channels.is_empty());
        self.count();
    }

    fn count(&self) {
        let store =
            |figure: &std::sync::atomic::AtomicU64, n: usize| figure.store(n as u64, Ordering::Relaxed);
        store(&self.figures.topics, self.channels.len());
        store(&self.figures.links, self.carriers.len());
        store(&self.figures.log_bytes, self.channels.values().map(|one| one.borrow().log.bytes()).sum());
    }
}
