//! `crossfade demo`: what a session looks like, without any set-up.
//! Only the arguments live here; the room `demo` plays it.

use std::net::SocketAddr;
use std::time::Duration;

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};

use super::run::Chain;
use super::{Exit, Streams};
use crate::config::Value as _;
use crate::demo;
use crate::demo::account::Account;
use crate::demo::view::{self, Scene, View};

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// End by itself after this time, such as 20s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// Print the final account as JSON
    #[arg(long)]
    pub json: bool,
    /// Let Realtime fail half way, to see the trip and the return
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, default_missing_value = "outage")]
    pub fault: Option<Fault>,
    /// How many clients connect
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
    /// Where the dashboard listens; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub admin: SocketAddr,
    /// Keep reports, drills, incidents and a plan in this folder
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<std::path::PathBuf>,
}

/// What the demo breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Realtime closes every connection and refuses new ones.
    Outage,
    /// Realtime acknowledges and delivers nothing.
    Stall,
    /// Realtime delivers late.
    Slow,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text)
}

/// The demo shows its token to whoever watches: no other machine has any business there.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "not an address with a port, such as 127.0.0.1:9465".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("the demo listens on loopback only".to_owned()) }
}

pub(super) fn run(args: &DemoArgs, streams: &mut Streams<'_>) -> Exit {
    let options = demo::Options {
        length: args.length.or_else(|| (!screen_wanted(args)).then_some(LENGTH_DEFAULT)),
        clients: args.clients as usize,
        fault: args.fault.map(|fault| match fault {
            Fault::Outage => demo::Fault::Outage,
            Fault::Stall => demo::Fault::Stall,
            Fault::Slow => demo::Fault::Slow,
        }),
        admin: args.admin,
        state: args.state.clone(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    let mut picture = Picture::open(screen_wanted(args));
    let played =
        runtime.block_on(demo::play(options, |view, scene| picture.draw(view, scene, &mut *streams.err)));
    picture.close();
    let account = match played {
        Ok(outcome) => outcome.account,
        Err(error) => return streams.refuse(Exit::Unavailable, &Chain(&error)),
    };
    let text = if args.json {
        match serde_json::to_string_pretty(&account) {
            Ok(json) => json + "\n",
            Err(error) => return streams.refuse(Exit::Bug, &error),
        }
    } else {
        in_words(&account)
    };
    match streams.answer(&text) {
        Exit::Fine if !account.broken.is_empty() => Exit::Bug,
        exit => exit,
    }
}

/// A demo that nobody watches ends by itself.
const LENGTH_DEFAULT: Duration = Duration::from_secs(20);
/// Without a screen: a line of progress this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

fn screen_wanted(args: &DemoArgs) -> bool {
    !args.json && std::io::stdout().is_terminal()
}

/// The live view on a terminal, or lines of progress elsewhere.
enum Picture {
    Screen(Box<ratatui::DefaultTerminal>),
    Lines { next: Duration, told: bool },
}

impl Picture {
    fn open(screen: bool) -> Self {
        match screen.then(ratatui::try_init) {
            Some(Ok(terminal)) => Self::Screen(Box::new(terminal)),
            _ => Self::Lines { next: Duration::ZERO, told: false },
        }
    }

    /// Draws one scene; `false` when the person at the terminal has quit.
    fn draw(&mut self, view: &View, scene: &Scene<'_>, err: &mut dyn std::io::Write) -> bool {
        match self {
            Self::Screen(terminal) => {
                let drawn = terminal.draw(|frame| view.draw(frame, scene));
                drawn.is_ok() && !quit_was_pressed()
            }
            Self::Lines { next, told } => {
                if let (false, Some(door)) = (*told, scene.door) {
                    *told = true;
                    let (page, metrics, token) = (door.dashboard, door.metrics, &door.token);
                    let line =
                        format!("dashboard http://{page}/  token {token}  metrics http://{metrics}/metrics");
                    writeln!(err, "{line}").unwrap_or_default();
                }
                if scene.elapsed >= *next {
                    *next = scene.elapsed + PROGRESS_EVERY;
                    let line = view::progress(scene);
                    // Progress is a courtesy; without a reader the demo goes on.
                    writeln!(err, "{line}").unwrap_or_default();
                }
                true
            }
        }
    }

    fn close(self) {
        if let Self::Screen(_) = self {
            ratatui::restore();
        }
    }
}

fn quit_was_pressed() -> bool {
    use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
    while event::poll(Duration::ZERO).unwrap_or(false) {
        if let Ok(Event::Key(key)) = event::read() {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return true;
            }
        }
    }
    false
}

/// The account for people.
fn in_words(account: &Account) -> String {
    let mut text = format!(
        "{} clients · {} messages sent, {} received · lost {}, doubled {}, reordered {}, closes {}\n",
        account.clients,
        account.sent,
        account.received,
        account.lost,
        account.duplicated,
        account.reordered,
        account.client_closes,
    );
    text += &format!(
        "mirrored {} · acknowledged {} · read back {} · shed {:?} · ledger {:+}\n",
        account.mirrored, account.acknowledged, account.read_back, account.shed, account.ledger_imbalance
    );
    text += &format!(
        "by way of Realtime {} · round trip p95 {:.1} ms · trips {}",
        account.via_realtime, account.rtt_p95_ms, account.trips
    );
    if let Some(took) = account.return_to_legacy_ms {
        text += &format!(" · all clients back on legacy in {took:.1} ms");
    }
    text.push('\n');
    if account.broken.is_empty() {
        text += "every promise was kept\n";
    }
    for promise in &account.broken {
        text += &format!("BROKEN: {promise}\n");
    }
    text
}
