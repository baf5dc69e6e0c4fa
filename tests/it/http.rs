//! As much of HTTP as asking the metrics listener needs.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{HANG, Proxy, until};

/// Status and body of one GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let asked = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(HANG, asked).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// Status, head and body of one request with these further fields.
pub(crate) async fn ask(
    address: SocketAddr,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
    body: &str,
) -> (u16, String, serde_json::Value) {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !fields.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let asked = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(HANG, asked).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

impl Proxy {
    pub(crate) async fn scrape(&self) -> String {
        let (status, text) = get(self.metrics, "/metrics").await;
        assert_eq!(status, 200);
        text
    }

    /// The value of one series, named as it is in the text: `name{label="value"}`. Absent reads as zero.
    pub(crate) async fn value(&self, series: &str) -> f64 {
        value_in(&self.scrape().await, series)
    }

    pub(crate) async fn until_value(&self, series: &str, wanted: f64) {
        until(&format!("{series} {wanted}"), async || (self.value(series).await == wanted).then_some(()))
            .await;
    }

    pub(crate) async fn until_ready(&self, status: u16) -> String {
        until(&format!("/readyz {status}"), async || {
            let (found, why) = get(self.metrics, "/readyz").await;
            (found == status).then_some(why)
        })
        .await
    }
}

pub(crate) fn value_in(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}
