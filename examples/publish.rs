//! Publishes JSON messages on a public topic with crossfade's own client, one after the other, and says what became
//! of each: `SUPABASE_URL=… SUPABASE_KEY=… cargo run --example publish -- TOPIC EVENT JSON…`. `VSN=1` sends text
//! frames instead of binary ones. The interop tests use it, and it is the smallest use of `realtime::client`.

use std::process::ExitCode;

use crossfade::realtime::client;
use crossfade::realtime::key::ApiKey;
use crossfade::realtime::link::{Config, Join, LinkEvent, Outcome, Push, PushRef, TopicNo};
use crossfade::realtime::message::{Encoding, Vsn};
use crossfade::realtime::url::Endpoint;

const TOPIC: TopicNo = TopicNo(1);

type Problem = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match publish().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("publish: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn publish() -> Result<(), Problem> {
    let mut words = std::env::args().skip(1);
    let (Some(topic), Some(event)) = (words.next(), words.next()) else {
        return Err("usage: publish TOPIC EVENT JSON…".into());
    };
    let key = ApiKey::new(&std::env::var("SUPABASE_KEY")?);
    let mut config = Config::new(Endpoint::parse(&std::env::var("SUPABASE_URL")?)?, key);
    if std::env::var("VSN").is_ok_and(|vsn| vsn == "1") {
        config.vsn = Vsn::V1;
    }
    let (mut link, shell) = client::start(client::Config::new(config, 1));
    let shell = tokio::spawn(shell);
    link.commands().try_join(TOPIC, Join::new(&topic, false))?;
    joined(&mut link).await?;
    for (id, body) in words.enumerate() {
        let id = PushRef(id as u64);
        let push =
            Push { id, topic: TOPIC, event: event.clone(), body: body.into(), encoding: Encoding::Json };
        link.try_push(push).map_err(|_| "the link takes no push at the moment")?;
        accepted(&mut link, id).await?;
        println!("accepted {}", id.0);
    }
    drop(link);
    Ok(shell.await?)
}

async fn joined(link: &mut client::Handle) -> Result<(), Problem> {
    while let Some(event) = link.next_event().await {
        match event {
            LinkEvent::Joined { .. } => return Ok(()),
            LinkEvent::GiveUp { reason, .. } => return Err(reason.advice().into()),
            _ => {}
        }
    }
    Err("the link has ended".into())
}

async fn accepted(link: &mut client::Handle, id: PushRef) -> Result<(), Problem> {
    while let Some(event) = link.next_event().await {
        match event {
            LinkEvent::Ack { push, outcome: Outcome::Accepted, .. } if push == id => return Ok(()),
            LinkEvent::Ack { push, outcome, .. } if push == id => return Err(format!("{outcome:?}").into()),
            _ => {}
        }
    }
    Err("the link has ended".into())
}
