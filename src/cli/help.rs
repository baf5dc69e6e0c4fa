//! What the help says beyond the arguments: commands by purpose, examples, exit codes. Pure: one table, made into clap's
//! own declarations, so that help, completions and manual pages say the same.

use anstyle::Style;
use clap::CommandFactory as _;

use super::Cli;
use super::look::Look;

/// The help is as wide as clap makes it.
const WIDE: Look = Look { width: 100, ..Look::PLAIN };

/// A heading of `crossfade --help` and the commands below it.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["run", "drain", "health"]),
    ("Look", &["check", "config", "explain", "bucket", "report", "spool"]),
    ("Change", &["plan", "drill", "reconcile", "replay"]),
    ("Kubernetes", &["inject"]),
    ("Develop", &["demo", "emulator", "completions", "man"]),
];

const AFTER: &str = "Settings come from the environment: `crossfade config` lists all variables.\n\
    `crossfade COMMAND --help` has examples and exit codes. --json: one JSON document on standard\n\
    output, {\"error\":{\"exit\",\"message\"}} where a command ends early. Colours only at a terminal;\n\
    NO_COLOR and CLICOLOR_FORCE are honoured.\n\
    Exit codes: 0 fine, 64 configuration, 69 unavailable, 70 broken promise or bug.";

/// Of a command: its words, examples, and what its exit codes mean.
struct Help {
    path: &'static str,
    examples: &'static [&'static str],
    exits: &'static str,
}

const fn help(path: &'static str, examples: &'static [&'static str], exits: &'static str) -> Help {
    Help { path, examples, exits }
}

const ASKING: &str = "0 answered, 64 wrong setting or token, 69 no answer";
const CHANGING: &str = "0 done, 64 wrong token, setting or plan, 69 no answer or not possible now";

const HELP: [Help; 29] = [
    help(
        "run",
        &["CROSSFADE_UPSTREAM=ws://127.0.0.1:9000 crossfade", "crossfade run"],
        "0 ended in order, 64 wrong setting, 69 a listener cannot be had, 70 a bug",
    ),
    help(
        "drain",
        &["crossfade drain", "crossfade drain --json"],
        "0 drained, 64 wrong setting or token, 69 no answer",
    ),
    help(
        "health",
        &["crossfade health", "crossfade health --ready"],
        "0 well, 64 wrong setting, 69 not well or no answer",
    ),
    help(
        "check",
        &["crossfade check", "crossfade check --table monitoring_events --json"],
        "0 everything works, 64 something of ours must change, 69 something is not there",
    ),
    help("config", &["crossfade config | less", "crossfade config --json"], "0 always"),
    help(
        "explain",
        &[
            "crossfade explain --request /ws --header 'x-user-id: 42'",
            "crossfade explain --message alert.json --path /ws",
            "crossfade explain --types --rules > rules.toml",
        ],
        "0 answered, 64 wrong setting or arguments, 69 no file or no answer",
    ),
    help(
        "bucket",
        &["crossfade bucket 42 43", "crossfade bucket 42 --percent 12.5 --json"],
        "0 answered, 64 wrong setting",
    ),
    help(
        "report",
        &[
            "crossfade report",
            "crossfade report --graduation",
            "crossfade report --graduation --vouch producers,fleet --json",
            "crossfade report --incident FILE",
        ],
        "0 answered (whatever the verdict is), 64 wrong setting or file, 69 no file or no answer",
    ),
    help(
        "report list",
        &["crossfade report list --dir /var/lib/crossfade"],
        "0 answered, 64 no directory, 69 it cannot be read",
    ),
    help(
        "report incidents",
        &["crossfade report incidents --json"],
        "0 answered, 64 no directory, 69 it cannot be read",
    ),
    help(
        "report show",
        &["crossfade report show rolling --json"],
        "0 answered, 64 no directory, 69 no such report",
    ),
    help(
        "spool",
        &["crossfade spool ls", "crossfade spool export > sessions.jsonl"],
        "0 answered, 64 no directory, 69 it cannot be read",
    ),
    help("spool ls", &["crossfade spool ls --json"], "0 answered, 64 no directory, 69 it cannot be read"),
    help(
        "spool export",
        &["crossfade spool export --dir /var/spool/crossfade > sessions.jsonl"],
        "0 everything written, 64 no directory, 69 something cannot be read",
    ),
    help("plan", &["crossfade plan", "crossfade plan start two-weeks --reason 'we are ready'"], CHANGING),
    help("plan show", &["crossfade plan show --json"], ASKING),
    help("plan start", &["crossfade plan start two-weeks", "crossfade plan start ./plan.json"], CHANGING),
    help("plan pause", &["crossfade plan pause --reason 'until Monday'"], CHANGING),
    help("plan resume", &["crossfade plan resume"], CHANGING),
    help("plan promote", &["crossfade plan promote --reason 'the gates have too little traffic'"], CHANGING),
    help("plan abort", &["crossfade plan abort"], CHANGING),
    help(
        "drill",
        &["crossfade drill", "crossfade drill --json"],
        "0 passed, or nothing was shown, 64 wrong setting or token, 69 no answer or not now, 70 failed",
    ),
    help(
        "reconcile",
        &["crossfade reconcile --dry-run", "crossfade reconcile --from sessions.jsonl --since '90m ago'"],
        "0 nothing is missing any more, 64 wrong setting or arguments, 69 something still is",
    ),
    help(
        "replay",
        &[
            "crossfade replay sessions.jsonl --to ws://127.0.0.1:9000 --speed 10",
            "crossfade replay sessions.jsonl --to-topic room:test",
        ],
        "0 everything was played, 64 refused or wrong arguments, 69 something failed",
    ),
    help(
        "inject",
        &["crossfade inject"],
        "0 ended in order, 64 wrong setting or file, 69 a listener cannot be had",
    ),
    help(
        "demo",
        &["crossfade demo", "crossfade demo --for 20s --fault --json"],
        "0 every promise was kept, 69 it could not begin, 70 one was broken",
    ),
    help(
        "emulator",
        &["crossfade emulator", "crossfade emulator --policy authenticated:room:*:rw"],
        "0 ended in order, 69 no listener",
    ),
    help(
        "completions",
        &[
            "crossfade completions bash > /etc/bash_completion.d/crossfade",
            "source <(crossfade completions zsh)",
        ],
        "0 printed, 64 no such shell",
    ),
    help(
        "man",
        &["crossfade man | man -l -", "crossfade man report > crossfade-report.1"],
        "0 printed, 64 no such command",
    ),
];

/// The whole command line, as it is parsed and shown.
pub(super) fn command() -> clap::Command {
    let mut all = Cli::command().max_term_width(WIDE.width).after_help(AFTER);
    for one in &HELP {
        let after = after(one);
        all = match one.path.split_once(' ') {
            None => all.mut_subcommand(one.path, |found| found.after_long_help(after)),
            Some((above, below)) => all.mut_subcommand(above, |found| {
                found.mut_subcommand(below, |found| found.after_long_help(after))
            }),
        };
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}\n{}\n{{options}}{{after-help}}",
        groups(&all),
        heading("Options:")
    );
    all.help_template(template)
}

fn heading(text: &str) -> String {
    let style = Style::new().bold().underline();
    format!("{style}{text}{style:#}")
}

fn groups(all: &clap::Command) -> String {
    let mut text = String::new();
    for (title, names) in &GROUPS {
        text += &format!("{}\n", heading(&format!("{title}:")));
        for name in *names {
            let about = all.find_subcommand(name).and_then(clap::Command::get_about).map(ToString::to_string);
            let bold = Style::new().bold();
            let about = WIDE.wrap(14, &about.unwrap_or_default());
            text += &format!("  {bold}{name:<11}{bold:#} {about}\n");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

fn after(one: &Help) -> String {
    let examples: String = one.examples.iter().map(|line| format!("  {line}\n")).collect();
    let title = heading(if one.examples.len() == 1 { "Example:" } else { "Examples:" });
    format!("{title}\n{examples}\n{} {}", heading("Exit codes:"), one.exits)
}
