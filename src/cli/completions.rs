//! `crossfade completions` and `crossfade man`: what packagers and shells install, made from the same declarations as the
//! help. Scripts and roff, so neither has `--json`.

use clap::Args;
use clap_complete::Shell;

use super::{Exit, Streams, help};

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The command, such as report; without one, the page of crossfade itself
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

pub(super) fn run(args: &CompletionsArgs, streams: &mut Streams<'_>) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "crossfade", &mut script);
    streams.answer(&String::from_utf8_lossy(&script))
}

pub(super) fn man(args: &ManArgs, streams: &mut Streams<'_>) -> Exit {
    let mut all = help::command();
    all.build();
    let page = match &args.command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return streams.refuse(Exit::Config, &format_args!("there is no command {name:?}")),
        },
    };
    let mut roff = Vec::new();
    match clap_mangen::Man::new(page).render(&mut roff) {
        Ok(()) => streams.answer(&String::from_utf8_lossy(&roff)),
        Err(error) => streams.refuse(Exit::Unavailable, &error),
    }
}
