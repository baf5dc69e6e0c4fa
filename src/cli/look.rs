//! How text looks: colours, the width of lines, and whether a line may be rewritten. The only place that decides it.
//!
//! **Problem.** Colours help at a terminal and are dirt in a file, a pipe and a log collector; and a table that is wider
//! than the window is no table.
//!
//! **Decision.** Each stream has a [`Look`], made once in `main.rs` ([`Look::of_stdout`], [`Look::of_stderr`]):
//! `anstream` decides about colours as it does for the help texts (`NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`,
//! `TERM=dumb`, terminal or not). Everything else is pure: text, width and colours in, text out.
//!
//! Into a file or a pipe a finding is one line, however long: it is searched there, not looked at.
//!
//! **Limits.** A character is taken to be one column wide. A terminal that does not tell its width has [`WIDTH`] columns.

use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};

/// Columns, where nobody says how many there are.
pub(super) const WIDTH: usize = 80;
/// Narrower than this nothing is wrapped further.
const WIDTH_MIN: usize = 40;

/// How one stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Escape sequences for colours are wanted.
    pub colours: bool,
    /// A person looks at it, so that a line may be written over.
    pub live: bool,
    /// Columns.
    pub width: usize,
}

/// What a word says, as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look.
    Doubt,
    /// It is wrong.
    Bad,
    /// Beside the point.
    Quiet,
}

impl Look {
    /// For files, pipes and tests.
    pub const PLAIN: Self = Self { colours: false, live: false, width: WIDTH };

    /// Of standard output.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stream = std::io::stdout();
        Self::of(colours(anstream::AutoStream::choice(&stream)), stream.is_terminal())
    }

    /// Of standard error.
    #[must_use]
    pub fn of_stderr() -> Self {
        let stream = std::io::stderr();
        Self::of(colours(anstream::AutoStream::choice(&stream)), stream.is_terminal())
    }

    fn of(colours: bool, terminal: bool) -> Self {
        if !terminal {
            return Self { colours, live: false, width: usize::MAX };
        }
        let columns = ratatui::crossterm::terminal::size().map_or(0, |(columns, _)| usize::from(columns));
        Self { colours, live: true, width: if columns == 0 { WIDTH } else { columns.max(WIDTH_MIN) } }
    }

    /// This word in its colour.
    pub(super) fn paint(self, tone: Tone, word: &str) -> String {
        let style = match tone {
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Doubt => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Quiet => Style::new().dimmed(),
        };
        if self.colours { format!("{style}{word}{style:#}") } else { word.to_owned() }
    }

    /// `text` in lines that fit behind `indent` columns; the first line is not indented.
    pub(super) fn wrap(self, indent: usize, text: &str) -> String {
        let room = self.width.saturating_sub(indent + 1).max(WIDTH_MIN / 2);
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join(&format!("\n{:indent$}", ""))
    }
}

fn colours(choice: anstream::ColorChoice) -> bool {
    !matches!(choice, anstream::ColorChoice::Never)
}

/// A row of a table with causes and remedies: a state, a name, what was found, and what to do.
pub(super) struct Row<'a> {
    pub(super) tone: Tone,
    pub(super) state: &'a str,
    pub(super) name: &'a str,
    pub(super) found: &'a str,
    /// Empty where nothing is to be done.
    pub(super) remedy: &'a str,
}

/// Rows with aligned columns; what was found and what to do are wrapped below each other.
pub(super) fn table(rows: &[Row<'_>], look: Look) -> String {
    let widest =
        |words: &mut dyn Iterator<Item = &str>| words.map(|word| word.chars().count()).max().unwrap_or(0);
    let states = widest(&mut rows.iter().map(|row| row.state));
    let names = widest(&mut rows.iter().map(|row| row.name));
    let indent = states + names + 4;
    let mut text = String::new();
    for row in rows {
        let state = look.paint(row.tone, &format!("{:<states$}", row.state));
        text += format!("{state}  {:<names$}  {}", row.name, look.wrap(indent, row.found)).trim_end();
        text.push('\n');
        if !row.remedy.is_empty() {
            text += &format!("{:indent$}→ {}\n", "", look.wrap(indent + 2, row.remedy));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [Row<'_>; 2] = [
        Row { tone: Tone::Good, state: "ok", name: "upstream", found: "answers 101", remedy: "" },
        Row {
            tone: Tone::Bad,
            state: "failed",
            name: "key",
            found: "the key has expired at a time that is so long ago that this line is longer than a line can be",
            remedy: "make a new one in the project's settings, and give it to crossfade as SUPABASE_KEY or as a file",
        },
    ];

    #[test]
    fn a_table_is_aligned_and_wrapped_to_the_width() {
        let told = table(&ROWS, Look::PLAIN);
        let wanted = "\
ok      upstream  answers 101
failed  key       the key has expired at a time that is so long ago that this
                  line is longer than a line can be
                  → make a new one in the project's settings, and give it to
                    crossfade as SUPABASE_KEY or as a file
";
        assert_eq!(told, wanted);
        for width in [40, 60, 120] {
            let told = table(&ROWS, Look { width, ..Look::PLAIN });
            assert!(told.lines().all(|line| line.chars().count() <= width), "{width}: {told}");
        }
        assert_eq!(table(&ROWS, Look { width: 200, ..Look::PLAIN }).lines().count(), 3);
    }

    #[test]
    fn colours_are_asked_for_and_change_no_letter() {
        let coloured = table(&ROWS, Look { colours: true, ..Look::PLAIN });
        assert!(coloured.contains("\u{1b}[32mok    \u{1b}[0m"), "{coloured:?}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), table(&ROWS, Look::PLAIN));
        assert!(!table(&ROWS, Look::PLAIN).contains('\u{1b}'));
    }

    #[test]
    fn a_word_longer_than_the_line_is_not_cut() {
        let word = "x".repeat(90);
        assert_eq!(Look::PLAIN.wrap(10, &word), word);
    }
}
