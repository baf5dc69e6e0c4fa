//! The loop guard, on a proxy whose service is itself. `tests/groups/netns.sh` has the same by a redirect.

use std::sync::Arc;

use super::super::*;
use super::http2_client::Client;
use super::shim::{Beyond, door};
use super::tls as secure;
use super::world::*;
use crate::proxy::tls::Live;

/// Far more than two connections for each request; a guard that does not hold runs into it.
const CONNECTIONS_MAX: u32 = 48;

/// A world whose upstream is its own listener.
fn circle(tls: bool, change: impl FnOnce(&mut Config)) -> World {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let scheme = if tls { "wss" } else { "ws" };
    let mut config = Config::new(Target::service(&format!("{scheme}://{address}")).unwrap());
    config.workers = Some(1);
    config.limits.connections_per_address = Some(CONNECTIONS_MAX);
    if tls {
        config.tls = Some(Live::fixed(secure::server()));
        config.upstream_tls = Some(Live::fixed(client_tls(secure::roots()).unwrap()));
    }
    change(&mut config);
    let decide: Decide = Arc::new(|_, _| Verdict::LEGACY);
    let running = Server::start_on(listener, config, decide, Mirroring::off()).unwrap();
    let clients = if tls { door(address, Beyond::Tls(secure::client().into())) } else { address };
    World { running, service: Service::start(), clients }
}

fn is_told(world: &World, times: u64) {
    world.until("the loop is counted", |_| world.faults(Fault::LoopDetected) == times);
    // One of the client's and one of ours, which may come from the pool.
    let total = world.running.counters().connections_total.value();
    assert!(total <= 2 * times, "{total} connections for {times} requests");
}

#[test]
fn a_request_that_comes_back_is_answered_508() {
    let world = circle(false, |_| {});
    world.client_says(GET).refusal(508, Fault::LoopDetected);
    is_told(&world, 1);
    world.client_says(UPGRADE).refusal(508, Fault::LoopDetected);
    is_told(&world, 2);
    let client = Client::of(&world);
    let request = http::Request::get("http://chat.example/").body(()).unwrap();
    let answer = client.wait(client.ask(request, true).0).unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["x-crossfade-error"]),
        (http::StatusCode::LOOP_DETECTED, &http::HeaderValue::from_static("loop_detected"))
    );
    is_told(&world, 3);
    world.until("nothing is left", |counters| counters.sessions() == 0);
}

#[test]
fn a_request_that_comes_back_under_tls_is_answered_508() {
    let world = circle(true, |_| {});
    world.client_says(GET).refusal(508, Fault::LoopDetected);
    is_told(&world, 1);
    world.client_says(UPGRADE).refusal(508, Fault::LoopDetected);
    is_told(&world, 2);
}

#[test]
fn a_request_that_comes_back_with_a_proxy_header_is_answered_508() {
    // The header names the client, and it is the client who seems to come a second time.
    let world = circle(false, |config| {
        config.announce = Some(proxy_protocol::Version::V2);
        config.proxy_protocol = true;
        config.trusted = Trusted::new(vec!["127.0.0.0/8".parse().unwrap()]);
        config.limits.connections_per_address = None;
    });
    let line = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
    world.client_says([line, GET].concat()).refusal(508, Fault::LoopDetected);
    is_told(&world, 1);
}
