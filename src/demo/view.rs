//! The demo's live terminal view: the two lanes of the fader, what flows, what was proved, and the breaker.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};

use crate::breaker::Phase;
use crate::status::Status;

use super::log::Findings;
use super::stage::Door;

const LEGACY: Color = Color::Rgb(0x9a, 0xa5, 0xb1);
const REALTIME: Color = Color::Rgb(0x3e, 0xcf, 0x8e);
const ALARM: Color = Color::Rgb(0xf0, 0x6a, 0x6a);
const CAUTION: Color = Color::Rgb(0xe8, 0xb3, 0x3a);

/// Pictures whose rates the sparkline remembers.
const HISTORY: usize = 240;
/// The rate is an average over this time.
const RATE_OVER: Duration = Duration::from_secs(1);

/// What the view remembers between two pictures.
#[derive(Debug, Default)]
pub struct View {
    /// Totals of the last second, to take the rate from.
    totals: VecDeque<(Duration, u64)>,
    rates: VecDeque<u64>,
    rate: u64,
    notes: VecDeque<String>,
}

/// One picture's content.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Time since the demo started.
    pub elapsed: Duration,
    /// How long it will run, if that is known.
    pub total: Option<Duration>,
    /// The product's own figures.
    pub status: &'a Status,
    /// What the logs of service and clients say so far.
    pub findings: Findings,
    /// Clients connected now.
    pub clients: u64,
    /// Closes that no client asked for.
    pub closes: u64,
    /// What the demo is doing to Realtime.
    pub fault: &'a str,
    /// Where its dashboard is.
    pub door: Option<&'a Door>,
}

impl View {
    /// Adds a line to the diary at the bottom; the oldest goes.
    pub fn note(&mut self, elapsed: Duration, text: &str) {
        if self.notes.len() == 5 {
            self.notes.pop_front();
        }
        self.notes.push_back(format!("{:>5.1}s  {text}", elapsed.as_secs_f64()));
    }

    /// Takes in the figures of a moment: call it once per picture.
    pub fn observe(&mut self, scene: &Scene<'_>) {
        let messages: u64 = scene.status.messages.iter().sum();
        self.totals.push_back((scene.elapsed, messages));
        while self.totals.front().is_some_and(|(at, _)| scene.elapsed.saturating_sub(*at) > RATE_OVER) {
            self.totals.pop_front();
        }
        let Some((then, before)) = self.totals.front() else { return };
        let millis = scene.elapsed.saturating_sub(*then).as_millis().max(1);
        self.rate =
            u64::try_from(u128::from(messages.saturating_sub(*before)) * 1000 / millis).unwrap_or(u64::MAX);
        self.rates.push_back(self.rate);
        if self.rates.len() > HISTORY {
            self.rates.pop_front();
        }
    }

    /// Draws the picture.
    pub fn draw(&self, frame: &mut Frame<'_>, scene: &Scene<'_>) {
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(5),
            Constraint::Length(5),
            Constraint::Length(6),
            Constraint::Min(7),
            Constraint::Length(1),
        ])
        .split(frame.area());
        let [title, fader, flow, facts, notes, keys] =
            [0, 1, 2, 3, 4, 5].map(|i| rows.get(i).copied().unwrap_or_default());
        frame.render_widget(Paragraph::new(title_line(scene)), title);
        draw_fader(frame, fader, scene);
        self.draw_flow(frame, flow, scene);
        let halves =
            Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).split(facts);
        let [left, right] = [0, 1].map(|i| halves.get(i).copied().unwrap_or_default());
        frame.render_widget(
            Paragraph::new(proof_lines(scene)).block(Block::bordered().title(" proof ")),
            left,
        );
        frame.render_widget(
            Paragraph::new(breaker_lines(scene)).block(Block::bordered().title(" breaker ")),
            right,
        );
        let lines: Vec<Line<'_>> = self.notes.iter().map(|note| Line::raw(note.as_str())).collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" what happened ")), notes);
        let keys_line = scene.door.map_or_else(
            || " q quits".to_owned(),
            |door| format!(" q quits · dashboard http://{}/ · token {}", door.dashboard, door.token),
        );
        frame.render_widget(Paragraph::new(keys_line).style(Style::new().add_modifier(Modifier::DIM)), keys);
    }

    fn draw_flow(&self, frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
        let mirror = &scene.status.mirror;
        let title = format!(
            " {} messages/s · round trip through Realtime p50 {} p95 {} p99 {} ",
            self.rate,
            millis(mirror.rtt_p50),
            millis(mirror.rtt_p95),
            millis(mirror.rtt_p99)
        );
        let skip = self.rates.len().saturating_sub(usize::from(area.width.saturating_sub(2)));
        let data: Vec<u64> = self.rates.iter().skip(skip).copied().collect();
        let line = Sparkline::default().data(&data).style(Style::new().fg(REALTIME));
        frame.render_widget(line.block(Block::bordered().title(title)), area);
    }
}

fn title_line(scene: &Scene<'_>) -> Line<'static> {
    let clock = match scene.total {
        Some(total) => format!("{:.0} of {:.0} s", scene.elapsed.as_secs_f64(), total.as_secs_f64()),
        None => format!("{:.0} s", scene.elapsed.as_secs_f64()),
    };
    Line::from(vec![
        Span::styled(" crossfade ", Style::new().add_modifier(Modifier::BOLD).fg(REALTIME)),
        Span::raw(format!("demo · {clock} · {} clients · Realtime: ", scene.clients)),
        Span::styled(
            scene.fault.to_owned(),
            Style::new().fg(if scene.fault == "up" { REALTIME } else { ALARM }),
        ),
    ])
}

fn draw_fader(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let [legacy, hot, cold, native] = scene.status.open;
    let total = (legacy + hot + cold + native).max(1);
    let ratio = (hot + cold + native) as f64 / total as f64;
    let title = Line::from(vec![
        Span::styled(format!(" legacy {legacy} "), Style::new().fg(LEGACY)),
        Span::raw("◂ fader ▸"),
        Span::styled(format!(" hot {hot} · native {native} "), Style::new().fg(REALTIME)),
    ]);
    let label =
        format!("wanted {:.1} % · live {:.1} %", f64::from(scene.status.share) / 1000.0, ratio * 100.0);
    let gauge = Gauge::default()
        .block(Block::bordered().title(title))
        .gauge_style(Style::new().fg(REALTIME).bg(Color::Rgb(0x2a, 0x2f, 0x36)))
        .ratio(ratio.clamp(0.0, 1.0))
        .label(label);
    frame.render_widget(gauge, area);
}

fn proof_lines(scene: &Scene<'_>) -> Vec<Line<'static>> {
    let ledger = &scene.status.ledger;
    let found = &scene.findings;
    let bad = found.duplicated + found.reordered + found.invented + scene.closes;
    vec![
        Line::raw(format!("service wrote {} · clients read {}", found.sent, found.received)),
        coloured(
            format!("doubled {} · reordered {} · closes {}", found.duplicated, found.reordered, scene.closes),
            if bad == 0 { REALTIME } else { ALARM },
        ),
        Line::raw(format!(
            "mirrored {} · read back {} · in flight {}",
            ledger.seen, ledger.confirmed, ledger.in_flight
        )),
        coloured(
            format!("shed {} · ledger {:+}", ledger.shed_total(), ledger.imbalance()),
            if ledger.internal() == 0 { REALTIME } else { ALARM },
        ),
    ]
}

fn breaker_lines(scene: &Scene<'_>) -> Vec<Line<'static>> {
    let breaker = &scene.status.breaker;
    let hot = &scene.status.hot;
    let (word, colour) = match breaker.phase {
        Phase::Closed => ("closed: Realtime may feed clients", REALTIME),
        Phase::Open => ("OPEN: pure passthrough", ALARM),
        Phase::HalfOpen => ("half-open: probing", CAUTION),
    };
    let left = breaker.left.map_or(String::new(), |left| format!(" · {:.1} s left", left.as_secs_f64()));
    let last = breaker.last_trip.map_or(String::new(), |why| format!(" · last: {}", why.as_str()));
    let back =
        breaker.return_to_legacy.map_or(String::new(), |took| format!(" · all back in {}", millis(took)));
    vec![
        coloured(format!("{word}{left}"), colour),
        Line::raw(format!("trips {}{last}{back}", breaker.trips)),
        Line::raw(format!(
            "via Realtime {} · rescued {} · direct {}",
            hot.via_realtime,
            hot.rescued,
            hot.direct.iter().sum::<u64>()
        )),
        Line::raw(format!("moved to hot {} · back {}", hot.moved_to_hot, hot.moved_back.iter().sum::<u64>())),
    ]
}

fn coloured(text: String, colour: Color) -> Line<'static> {
    Line::styled(text, Style::new().fg(colour))
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// One line for a log, where no screen is.
#[must_use]
pub fn progress(scene: &Scene<'_>) -> String {
    let [legacy, hot, _, native] = scene.status.open;
    format!(
        "{:>4.0} s  clients {}  legacy {legacy} hot {hot} native {native}  sent {} received {}  read back {}  breaker {}",
        scene.elapsed.as_secs_f64(),
        scene.clients,
        scene.findings.sent,
        scene.findings.received,
        scene.status.ledger.confirmed,
        scene.status.breaker.phase.as_str(),
    )
}
