//! The emergency switch, by signal and by file: everybody is on legacy inside the open socket, and comes back.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::process::{Emulator, HANG, Proxy};
use super::raw;
use super::stage::{ALL_HOT, HOT, LEGACY, Stage};

const CLIENTS: u64 = 40;

#[tokio::test]
async fn a_signal_and_a_file_each_put_everybody_on_legacy_and_both_must_let_go() {
    let emulator = Emulator::start(&[]);
    let place = std::env::temp_dir().join(format!("crossfade-emergency-{}", std::process::id()));
    let file = place.to_str().unwrap();
    let env = [ALL_HOT[0], ALL_HOT[1], ("CROSSFADE_EMERGENCY_FILE", file)];
    let stage = Stage::open(CLIENTS, Some(&emulator), &env).await;
    let all = CLIENTS as f64;
    stage.proxy.until_value(HOT, all).await;
    stage.written(500).await;
    stage.proxy.process.signal("USR1");
    stage.proxy.until_value(LEGACY, all).await;
    assert!(stage.proxy.value("crossfade_rollout_percent").await.abs() < f64::EPSILON);
    std::fs::write(&place, "").unwrap();
    stage.proxy.process.line(|line| line.contains("\"by\":\"file\"").then_some(()));
    stage.proxy.process.signal("USR2");
    stage.proxy.process.line(|line| line.contains("\"by\":\"signal\",\"on\":false").then_some(()));
    stage.written(500).await;
    // The file alone holds it now.
    assert!((stage.proxy.value(LEGACY).await - all).abs() < f64::EPSILON);
    std::fs::remove_file(&place).unwrap();
    stage.proxy.until_value(HOT, all).await;
    stage.written(500).await;
    stage.close_clean().await;
}

#[tokio::test]
async fn who_was_let_in_before_the_switch_and_connected_after_it_is_on_legacy() {
    let emulator = Emulator::start(&[]);
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &ALL_HOT);
    let user = "X-User-Id: ann\r\n";
    let mut first = raw::ask(proxy.clients, user).await;
    let (_first, _) = raw::upgraded(&service, "").await;
    assert!(raw::head(&mut first).await.starts_with("HTTP/1.1 101 "));
    proxy.until_value(HOT, 1.0).await;
    // Decided as hot; the service does not answer before the switch.
    let mut client = raw::ask(proxy.clients, user).await;
    let (mut serving, head) = loop {
        let (mut serving, _) = tokio::time::timeout(HANG, service.accept()).await.unwrap().unwrap();
        let head = raw::head(&mut serving).await;
        if !head.is_empty() {
            break (serving, head);
        }
    };
    assert!(head.starts_with("GET /feed "), "{head}");
    proxy.process.signal("USR1");
    proxy.until_value(HOT, 0.0).await;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        raw::ACCEPT
    );
    serving.write_all(answer.as_bytes()).await.unwrap();
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    // Where a wish to be hot would have been met: at the boundary behind a message.
    let (frame, mut got) = (b"\x82\x05hello", [0; 7]);
    serving.write_all(frame).await.unwrap();
    tokio::time::timeout(HANG, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, frame);
    assert_eq!((proxy.value(HOT).await, proxy.value(LEGACY).await), (0.0, 2.0));
}
