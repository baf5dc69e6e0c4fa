//! The emulator's codec and machine: any frames on two sockets, nothing panics, nothing grows without bound.

use std::time::{Duration, Instant};

use bytes::Bytes;
use crossfade::emulator::{
    Claims, Clock, Config, ConnId, Emulator, Frame, Policy, Secret, Table, UpgradeRequest,
};

const TABLE: &str = "t(id int primary key)";
const JOIN: &str = r#"["1","1","realtime:t","phx_join",{"config":{"broadcast":{"ack":true,"self":true},"postgres_changes":[{"event":"*","schema":"public","table":"t"}]}}]"#;

#[expect(clippy::disallowed_methods, reason = "any instant will do; nothing here measures time")]
fn origin() -> Instant {
    Instant::now()
}

pub fn run(frames: Vec<(u8, Vec<u8>)>) {
    let (secret, mut now) = (Secret::new("s"), origin());
    let key = secret.mint(&Claims::of("service_role", 4_000_000_000));
    let config = Config {
        tables: Table::parse(TABLE).into_iter().collect(),
        policies: Policy::parse("anon:*:rw").into_iter().collect(),
        ..Config::new(secret)
    };
    let mut emulator = Emulator::new(config, 1, Clock { at: now, unix_ms: 1_800_000_000_000 });
    for (id, vsn) in [(1, "1.0.0"), (2, "2.0.0")] {
        let query = format!("vsn={vsn}&apikey={key}");
        let request = UpgradeRequest { path: "/socket/websocket".to_owned(), query, headers: Vec::new() };
        emulator.connect(ConnId(id), &request, now);
    }
    emulator.handle(ConnId(2), Frame::Text(JOIN.to_owned()), now);
    for (how, bytes) in frames {
        let socket = ConnId(u64::from(how & 1) + 1);
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let frame = match how >> 1 & 7 {
            0 => Frame::Binary(Bytes::from(bytes)),
            1 => Frame::Ping,
            2 => Frame::Text(format!("[\"1\",\"2\",\"realtime:t\",\"broadcast\",{}]", text())),
            3 => Frame::Text(format!("[\"1\",\"2\",\"realtime:t\",\"phx_join\",{}]", text())),
            _ => Frame::Text(text()),
        };
        emulator.handle(socket, frame, now);
        now += Duration::from_millis(u64::from(how) * 10);
        emulator.handle_timeout(now);
        let mut said = 0;
        while emulator.poll_transmit().is_some() {
            said += 1;
        }
        let stats = emulator.stats();
        assert!(said <= 10_000 && stats.sockets <= 2 && stats.channels <= 200, "{stats:?}");
    }
}
