//! The emulator over HTTP, broadcasts and rows: any request is answered.

use std::time::Instant;

use bytes::Bytes;
use crossfade::emulator::{Claims, Clock, Config, Emulator, HttpRequest, Secret, Table};

const TABLE: &str = "t(id int primary key, kind text not null, data jsonb, at timestamptz default now())";

#[expect(clippy::disallowed_methods, reason = "any instant will do; nothing here measures time")]
fn origin() -> Instant {
    Instant::now()
}

pub fn run(requests: Vec<(u8, String, Vec<u8>)>) {
    let (secret, now) = (Secret::new("s"), origin());
    let key = secret.mint(&Claims::of("service_role", 4_000_000_000));
    let config = Config { tables: Table::parse(TABLE).into_iter().collect(), ..Config::new(secret) };
    let mut emulator = Emulator::new(config, 1, Clock { at: now, unix_ms: 1_800_000_000_000 });
    for (how, rest, body) in requests {
        let (path, query) = rest.split_once('?').unwrap_or(("", &rest));
        let path = match how & 3 {
            0 => format!("/api/broadcast/{path}"),
            1 => "/api/broadcast".to_owned(),
            _ => format!("/rest/v1/t{path}"),
        };
        let method = ["GET", "POST", "PATCH", "DELETE"].into_iter().nth(usize::from(how >> 2 & 3));
        let prefer = [
            "return=representation",
            "resolution=merge-duplicates",
            "resolution=ignore-duplicates",
            "count=exact",
        ];
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = HttpRequest {
            method: method.unwrap_or("GET").to_owned(),
            path,
            query: query.to_owned(),
            headers: vec![
                header("apikey", &key),
                header("content-type", "application/json"),
                header("prefer", prefer.into_iter().nth(usize::from(how >> 4 & 3)).unwrap_or_default()),
            ],
            body: Bytes::from(body),
        };
        let answer = emulator.http(&request, now);
        assert!((200..=503).contains(&answer.status));
    }
}
