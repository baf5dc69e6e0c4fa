//! One table of what is honest and one of what is not, over every way by which a client reaches the service: straight,
//! through the proxy as it is, under TLS, over HTTP/2 with and without TLS, and redirected by a rule of the kernel.
//! What is honest must arrive, and be answered, as it is without a proxy; what is not must not reach the service.
//!
//! The redirected way needs a network namespace with its rule: `tests/groups/ways.sh` makes one, and says by
//! `CROSSFADE_WAYS_MEANT` which address is redirected. Without it that way is left out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its own functions included"
)]

#[path = "ways/client.rs"]
mod client;
#[path = "../src/proxy/tls/made.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod made;
#[path = "ways/service.rs"]
mod service;
#[path = "../src/proxy/tests/shim.rs"]
#[expect(dead_code, reason = "only clients are secured here")]
mod shim;
#[path = "../src/proxy/tests/shim_http2.rs"]
mod shim_http2;
#[path = "ways/table.rs"]
mod table;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crossfade::proxy::tls::Live;
use crossfade::proxy::{Config, Fault, Mirroring, Running, Server, Target, Verdict};
use service::{Seen, Service};

/// Longer than anything takes that works.
const HANG: Duration = Duration::from_secs(60);
/// What `CROSSFADE_WAYS_MEANT` redirects to.
const REDIRECTED_TO: u16 = 8080;

/// How a client comes to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Straight,
    Plain,
    Tls,
    Http2,
    Http2Tls,
    Redirect(SocketAddr),
}

impl Way {
    const fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Http2Tls)
    }
}

/// Somebody to ask, and who is asked.
struct World {
    way: Way,
    /// Where a client of this way connects: in HTTP/1.1, or by the preface of HTTP/2, TLS being put around it.
    door: SocketAddr,
    /// The same for sessions, which are written in HTTP/1.1 whatever the way.
    sessions: SocketAddr,
    service: Service,
    running: Option<Running>,
}

impl World {
    fn open(way: Way) -> Self {
        let meant = if let Way::Redirect(meant) = way { Some(meant) } else { None };
        let port = meant.map_or(0, |meant| meant.port());
        let service = Service::start(TcpListener::bind(("127.0.0.1", port)).unwrap());
        if way == Way::Straight {
            let door = service.address;
            return Self { way, door, sessions: door, service, running: None };
        }
        let mut config = Config::new(Target::service(&format!("ws://{}", service.address)).unwrap());
        config.listen = SocketAddr::from(([127, 0, 0, 1], meant.map_or(0, |_| REDIRECTED_TO)));
        config.workers = Some(1);
        config.deadlines.head = Duration::from_secs(5);
        config.intercept = meant.is_some();
        let authority = made::Authority::new();
        let mut believes = authority.client();
        if way.is_tls() {
            let mut own = authority.issue(&["localhost"]).server();
            own.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            config.tls = Some(Live::fixed(own));
            let protocol = if way.is_http2() { &b"h2"[..] } else { b"http/1.1" };
            believes.alpn_protocols = vec![protocol.to_vec()];
        }
        let running = Server::start(config, Arc::new(|_, _| Verdict::LEGACY), Mirroring::off()).unwrap();
        let mut door = meant.unwrap_or_else(|| running.local_addr());
        if way.is_tls() {
            door = shim::door(door, shim::Beyond::Tls(Arc::new(believes)));
        }
        let sessions = if way.is_http2() { shim_http2::door(door) } else { door };
        Self { way, door, sessions, service, running: Some(running) }
    }

    /// What a request is at the service, and what its answer is at the client.
    fn ask(&self, ask: &table::Ask) -> (client::Message, client::Message) {
        let answer = client::ask(self.way.is_http2(), self.door, ask);
        let Seen::Request { head, body } = self.service.seen() else { panic!("{}: no request", ask.name) };
        let body = body.unwrap_or_else(|| panic!("{}: the body broke off", ask.name));
        let forwarded = client::names(&head).iter().any(|name| name == "x-forwarded-for");
        assert_eq!(forwarded, self.way != Way::Straight, "{}: it comes {:?}", ask.name, self.way);
        (client::Message::of(&head, body), answer)
    }

    /// What a session is at the service, and what it is at the client: bytes, and how they ended.
    fn talk(&self, talk: &table::Talk) -> [(Vec<u8>, client::End); 2] {
        let at_client = client::talk(self.sessions, talk);
        let Seen::Session(at_service) = self.service.seen() else { panic!("{}: no session", talk.name) };
        [at_service, at_client]
    }

    /// What is not honest, and the proof that others are served.
    fn refuses(&self, crime: &table::Crime) {
        let refused = if self.way.is_http2() {
            client::is_refused_by_frames(self.door, &crime.frames)
        } else {
            client::is_refused(self.door, &crime.text)
        };
        assert!(refused, "{:?}: {} is answered as if nothing were wrong", self.way, crime.name);
        let honest = &table::asks()[0];
        let answer = client::ask(self.way.is_http2(), self.door, honest);
        assert!(answer.is_ok(), "{:?}: after {}", self.way, crime.name);
        loop {
            match self.service.seen() {
                Seen::Request { head, body: Some(_) } if head.starts_with(b"GET / ") => return,
                Seen::Request { body: None, .. } if crime.begins_well => {}
                _ => panic!("{:?}: {} reaches the service", self.way, crime.name),
            }
        }
    }
}

/// The whole table over one way.
fn over(way: Way) {
    let (straight, world) = (World::open(Way::Straight), World::open(way));
    for ask in table::asks() {
        let (expect, got) = (straight.ask(&ask), world.ask(&ask));
        let [expect, got] = [expect, got].map(|(request, answer)| {
            if way.is_http2() { (request.in_lower_case(), answer.in_lower_case()) } else { (request, answer) }
        });
        assert_eq!(got.0, expect.0, "{way:?}: {}, at the service", ask.name);
        assert_eq!(got.1, expect.1, "{way:?}: {}, at the client", ask.name);
    }
    // What stands in for a client of HTTP/2 ends its own connection in good order where its stream is reset;
    // `a_reset_is_a_reset_in_both_directions` looks at the stream itself.
    let unseen = |talk: &table::Talk| way.is_http2() && talk.reset == table::Reset::Service;
    for talk in table::talks().into_iter().filter(|talk| !unseen(talk)) {
        let (expect, got) = (straight.talk(&talk), world.talk(&talk));
        assert_eq!(expect[0].0, [&talk.early_up[..], &talk.up].concat(), "{}", talk.name);
        assert!(got == expect, "{way:?}: {}: {}", talk.name, client::difference(&got, &expect));
    }
    for crime in table::crimes() {
        world.refuses(&crime);
    }
    let running = world.running.unwrap();
    let counters = running.counters();
    // The descriptors come back: what is left are connections of the pool.
    let began = service::now();
    while counters.connections_open.value() > 0 {
        assert!(
            began.elapsed() < HANG,
            "{way:?}: {} connections are left",
            counters.connections_open.value()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(counters.faults(Fault::HeadTimeout).value() >= 1, "{way:?}: a head was never finished");
    println!("{way:?}: the same as straight");
}

#[test]
fn plain() {
    over(Way::Plain);
}

#[test]
fn under_tls() {
    over(Way::Tls);
}

#[test]
fn over_http2() {
    over(Way::Http2);
}

#[test]
fn over_http2_under_tls() {
    over(Way::Http2Tls);
}

#[test]
fn redirected() {
    match std::env::var("CROSSFADE_WAYS_MEANT") {
        Ok(meant) => over(Way::Redirect(meant.parse().unwrap())),
        Err(_) => println!("left out: tests/groups/ways.sh makes the namespace that it needs"),
    }
}
