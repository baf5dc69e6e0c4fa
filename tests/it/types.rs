//! The live list of event types: what the service wrote is what the list counts, and the proposed rule file is one that
//! the program takes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::process::{Emulator, Proxy, ran, until};
use super::raw;

/// The output of one `explain`, and its exit code.
async fn explain(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let (code, out, err) = ran(&[&["explain"][..], args].concat(), env).await;
    (code, out + &err)
}

/// The list, once it counts so many messages.
async fn list(admin: &str, env: &[(&str, &str)], messages: u64) -> Value {
    until("the list counts them all", async || {
        let (_, text) = explain(&["--types", "--json", "--admin", admin], env).await;
        let list: Value = serde_json::from_str(&text).ok()?;
        (list["messages"].as_u64() == Some(messages)).then_some(list)
    })
    .await
}

#[tokio::test]
async fn the_list_counts_what_the_service_wrote_and_its_rules_are_taken() {
    const VIEW: (&str, &str) = ("CROSSFADE_ADMIN_VIEW_TOKEN", "a-long-random-token-for-looking");
    let emulator = Emulator::start(&[]);
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rules = ("CROSSFADE_CLASSIFY", "event=known:low");
    let env = [VIEW, rules, ("CROSSFADE_BREAKER", "forced_closed")];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let (_client, mut writer) = raw::session(proxy.clients, &service).await;
    let wrote = [("price", 30), ("heartbeat", 10), ("known", 5), ("fire_alert", 2)];
    for (event, count) in wrote {
        let body = json!({ "event": event }).to_string();
        let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
        frame.extend(body.as_bytes());
        writer.write_all(&frame.repeat(count)).await.unwrap();
    }
    let admin = proxy.admin.to_string();
    let list = list(&admin, &[VIEW], 47).await;
    for (event, count) in wrote {
        let row = list["types"].as_array().unwrap().iter().find(|row| row["type"] == event).unwrap();
        let bytes = count * json!({ "event": event }).to_string().len();
        assert_eq!((&row["count"], &row["bytes"]), (&json!(count), &json!(bytes)), "{row}");
        let share = count as f64 / 47.0;
        assert!((row["share"].as_f64().unwrap() - share).abs() < 1e-9, "{row}");
        let (why, rule, proposed) = match event {
            "known" => ("rule", json!(1), Value::Null),
            "heartbeat" => ("frequency", Value::Null, json!("skip")),
            "fire_alert" => ("frequency", Value::Null, json!("critical")),
            _ => ("frequency", Value::Null, row["class"].clone()),
        };
        assert_eq!((&row["why"], &row["rule"], &row["proposed"]), (&json!(why), &rule, &proposed), "{row}");
    }
    rules_are_taken(&admin, VIEW).await;

    let (code, text) = explain(&["--types", "--admin", &admin], &[VIEW]).await;
    assert!(code == Some(0) && text.contains("4 types, 47 messages") && text.contains("rule 1"), "{text}");
    let (code, text) = explain(&["--types", "--admin", &admin], &[]).await;
    assert!(code == Some(64) && text.contains("CROSSFADE_ADMIN_VIEW_TOKEN"), "{text}");
}

/// What is proposed decides about the next message.
async fn rules_are_taken(admin: &str, view: (&str, &str)) {
    let (code, text) = explain(&["--types", "--rules", "--admin", admin], &[view]).await;
    assert_eq!(code, Some(0), "{text}");
    let folder = std::env::temp_dir();
    let place = |name: &str| folder.join(format!("crossfade-types-{}-{name}", std::process::id()));
    let (file, message) = (place("rules.toml"), place("message.json"));
    std::fs::write(&file, &text).unwrap();
    std::fs::write(&message, r#"{"event":"fire_alert"}"#).unwrap();
    let classify = format!("@{}", file.display());
    let args = ["--message", message.to_str().unwrap(), "--json"];
    let (code, answer) = explain(&args, &[("CROSSFADE_CLASSIFY", &classify)]).await;
    drop((std::fs::remove_file(&file), std::fs::remove_file(&message)));
    assert!(answer.starts_with('{'), "{answer}\n{text}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (code, &answer["class"], &answer["why"]),
        (Some(0), &json!("critical"), &json!("rule")),
        "{text}"
    );
}

#[tokio::test]
async fn nobody_there_and_nothing_mirrored_are_said() {
    let nobody: SocketAddr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, text) = explain(&["--types", "--admin", &nobody.to_string()], &[]).await;
    assert!(code == Some(69) && text.contains("is crossfade running?"), "{text}");
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &[]);
    let (code, text) = explain(&["--types", "--admin", &proxy.admin.to_string()], &[]).await;
    assert!(code == Some(69) && text.contains("SUPABASE_URL"), "{text}");
}
