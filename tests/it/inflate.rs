//! Compressed sessions that say nothing give their decompressors' memory back, and are read on when they speak again.

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::process::{Emulator, HANG, Proxy};
use super::raw;

const EXTENSION: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const SESSIONS: usize = 8;
const CONFIRMED: &str = "crossfade_mirror_messages_total{state=\"confirmed\"}";
const HELD: &str = "crossfade_inflate_bytes";
const KIB: f64 = 1024.0;

/// A compressed text frame that refers to those before it.
fn message(compress: &mut Compress) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    compress.compress_vec(b"the same words again and again", &mut body, FlushCompress::Sync).unwrap();
    body.truncate(body.len() - 4);
    [&[0xC1, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

#[tokio::test]
async fn idle_sessions_give_memory_back_and_are_read_on() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emulator = Emulator::start(&[]);
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &[]);
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let mut sessions: Vec<(TcpStream, TcpStream, Compress)> = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = raw::ask(proxy.clients, EXTENSION).await;
        let (upstream, _) = raw::upgraded(&service, EXTENSION).await;
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        sessions.push((client, upstream, Compress::new(Compression::new(6), false)));
    }
    assert_eq!(proxy.value(HELD).await, 0.0, "nothing compressed has come yet");
    for round in 1..=2 {
        for (client, upstream, compress) in &mut sessions {
            let wire = message(compress);
            upstream.write_all(&wire).await.unwrap();
            let mut got = vec![0; wire.len()];
            timeout(HANG, client.read_exact(&mut got)).await.unwrap().unwrap();
            assert_eq!(got, wire);
        }
        // Read means inflated: what cannot be followed is shed as lost and never confirmed.
        proxy.until_value(CONFIRMED, (round * SESSIONS) as f64).await;
        assert_eq!(proxy.value(HELD).await, SESSIONS as f64 * 88.0 * KIB);
        // Only the worker's beat ends this wait: no byte moves.
        proxy.until_value(HELD, SESSIONS as f64 * 32.0 * KIB).await;
        let hibernated = proxy.value("crossfade_inflaters_hibernated_total").await;
        assert_eq!(hibernated, (round * SESSIONS) as f64);
    }
    drop(sessions);
    proxy.until_value(HELD, 0.0).await;
}
