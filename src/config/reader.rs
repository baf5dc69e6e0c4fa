//! Reads variables from [`Strings`] and finds everything that is wrong with them.
//! Errors are data: name, problem, example. They never repeat a secret.

use std::fmt;
use std::path::PathBuf;

use super::secret::{Credential, Secret, looks_secret};
use super::strings::{Strings, Text, TextOrFile};
use super::var::{About, Value, Var};
use super::vars;

/// The longest text that an error quotes.
const QUOTE_MAX: usize = 80;

/// How alike two names must be for a did-you-mean (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.9;

/// What is wrong with one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable as it is spelt in the environment.
    pub name: String,
    /// What is wrong, as a phrase.
    pub what: String,
    /// A line that would be right, or an advice.
    pub example: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.name, self.what, self.example)
    }
}

/// Everything that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "configuration: {} {plural}", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// What applies for one variable, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its row in the tables.
    pub name: &'static str,
    /// Its heading.
    pub group: &'static str,
    /// What applies; `None` where nothing does, or where it is not to be shown.
    pub value: Option<String>,
    /// `environment`, `file` or `default`.
    pub source: &'static str,
    /// The value is hidden.
    pub secret: bool,
    /// What it does.
    pub doc: &'static str,
}

/// Reads variables.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    strings: &'a Strings,
}

/// The text of a variable and the file that it came from.
struct Found {
    text: String,
    file: Option<PathBuf>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(strings: &'a Strings) -> Self {
        Self { strings }
    }

    /// Everything that is wrong with single variables and with names.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.problems_where(|_| true)
    }

    /// The same of these variables alone; a name that nobody knows is wrong in any case.
    pub(super) fn problems_where(&self, wanted: impl Fn(&About) -> bool) -> Vec<Problem> {
        let unknown = self.strings.names().filter(|name| is_unknown(name)).map(unknown);
        let faulty = vars::all().filter(|about| wanted(about)).filter_map(|about| self.check(about).err());
        unknown.chain(faulty).collect()
    }

    fn check(&self, about: &About) -> Result<(), Problem> {
        match self.find(about)? {
            Some(found) => (about.check)(&found.text).map_err(|why| refused(about, &found.text, &why)),
            None if about.required => Err(problem(about, "is required".to_owned())),
            None => Ok(()),
        }
    }

    /// The value, which has a default or is required.
    pub(super) fn value<T: Value>(&self, var: &Var<T>) -> Result<T, Problem> {
        self.optional(var)?.ok_or_else(|| problem(&var.about, "is required".to_owned()))
    }

    /// The value or its default, if there is either.
    pub(super) fn optional<T: Value>(&self, var: &Var<T>) -> Result<Option<T>, Problem> {
        let found = self.find(&var.about)?.map(|found| found.text);
        let Some(text) = found.as_deref().or(var.about.default) else { return Ok(None) };
        T::parse(text).map(Some).map_err(|why| refused(&var.about, text, &why))
    }

    /// What a variable says itself, or the file that it names by `@/path`.
    pub(super) fn text_or_file<T>(&self, var: &Var<T>) -> Result<Option<TextOrFile>, Problem> {
        let failed = |error: std::io::Error| {
            problem(&var.about, format!("the file that it names cannot be read: {error}"))
        };
        self.strings.text_or_file(var.about.name).map_err(failed)
    }

    /// A secret, and the file that it came from.
    pub(super) fn credential<T: Value + Into<Secret>>(
        &self,
        var: &Var<T>,
    ) -> Result<Option<Credential>, Problem> {
        let Some(found) = self.find(&var.about)? else { return Ok(None) };
        let secret = T::parse(&found.text).map_err(|why| refused(&var.about, &found.text, &why))?;
        Ok(Some(Credential { secret: secret.into(), file: found.file }))
    }

    /// The value where it is right; a rule between variables has nothing to say about a wrong one.
    pub(super) fn right<T: Value>(&self, var: &Var<T>) -> Option<T> {
        self.optional(var).ok().flatten()
    }

    /// Whether somebody tried to set it, rightly or not.
    pub(super) fn is_set(&self, about: &About) -> bool {
        !matches!(self.find(about), Ok(None))
    }

    /// Everything as it applies, without secrets and without what looks like one.
    pub(super) fn shown(&self) -> Vec<Shown> {
        vars::all().map(|about| self.show(about)).collect()
    }

    fn show(&self, about: &'static About) -> Shown {
        let found = self.find(about).ok().flatten();
        let source = match &found {
            None => "default",
            Some(Found { file: Some(_), .. }) => "file",
            Some(_) => "environment",
        };
        let text = found.map(|found| found.text).or_else(|| about.default.map(str::to_owned));
        let secret = about.secret || text.as_deref().is_some_and(looks_secret);
        let value = text.filter(|_| !secret);
        Shown { name: about.name, group: about.group.as_str(), value, source, secret, doc: about.doc }
    }

    pub(super) fn host_name(&self) -> Option<&str> {
        self.strings.host()
    }

    fn find(&self, about: &About) -> Result<Option<Found>, Problem> {
        let direct = self.text(about, about.name)?;
        if !about.secret {
            return Ok(direct.map(|text| Found { text, file: None }));
        }
        let file_name = format!("{}_FILE", about.name);
        match (direct, self.text(about, &file_name)?) {
            (Some(_), Some(_)) => Err(Problem {
                name: file_name,
                what: format!("and {} are both set", about.name),
                example: "keep one of them".to_owned(),
            }),
            (None, Some(path)) => self.read_from_file(&file_name, PathBuf::from(path)).map(Some),
            (text, None) => Ok(text.map(|text| Found { text, file: None })),
        }
    }

    fn read_from_file(&self, name: &str, path: PathBuf) -> Result<Found, Problem> {
        let wrong = |what: String| {
            let example = format!("for example {name}=/run/secrets/{}", name.to_ascii_lowercase());
            Problem { name: name.to_owned(), what, example }
        };
        let content = self.strings.file(&path).map_err(|why| wrong(format!("cannot be read ({why})")))?;
        let text = content.trim().to_owned();
        if text.is_empty() {
            return Err(wrong("is an empty file".to_owned()));
        }
        Ok(Found { text, file: Some(path) })
    }

    fn text(&self, about: &About, name: &str) -> Result<Option<String>, Problem> {
        match self.strings.value(name) {
            Some(Text::NotUtf8) => Err(problem(about, "is not UTF-8".to_owned())),
            Some(Text::Utf8(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
            _ => Ok(None),
        }
    }
}

pub(super) fn problem(about: &About, what: String) -> Problem {
    let example = format!("for example {}={}", about.name, about.example);
    Problem { name: about.name.to_owned(), what, example }
}

fn refused(about: &About, text: &str, why: &str) -> Problem {
    let quoted = if about.secret || looks_secret(text) || text.len() > QUOTE_MAX {
        "the value (not shown)".to_owned()
    } else {
        format!("{text:?}")
    };
    problem(about, format!("{quoted} {why}"))
}

fn is_unknown(name: &str) -> bool {
    let known = |about: &About| {
        about.name == name || (about.secret && name.strip_suffix("_FILE") == Some(about.name))
    };
    name.starts_with("CROSSFADE_") && !vars::all().any(known) && !is_kubernetes_service(name)
}

/// The shapes that the kubelet injects for a Service: `*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT`, `*_PORT_<n>_*`.
pub(super) fn is_kubernetes_service(name: &str) -> bool {
    let numbered = |rest: &str| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        digits > 0 && rest.get(digits..).is_some_and(|tail| tail.starts_with('_'))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, mark)| name.get(at + mark.len()..).is_some_and(numbered))
}

/// Variables that were, and the fields of the tuning file that they have become.
const MOVED: [(&str, &str); 2] = [
    ("CROSSFADE_TABLE_RATE", "is now rate in [table] of the file CROSSFADE_TUNING"),
    ("CROSSFADE_TABLE_QUARANTINE", "is now quarantine in [table] of the file CROSSFADE_TUNING"),
];

fn unknown(name: &str) -> Problem {
    if let Some((_, what)) = MOVED.iter().find(|(moved, _)| *moved == name) {
        let example = "for example CROSSFADE_TUNING=/etc/crossfade/tuning.toml".to_owned();
        return Problem { name: name.to_owned(), what: (*what).to_owned(), example };
    }
    let score = |about: &&About| strsim::jaro_winkler(name, about.name);
    let nearest = vars::all().max_by(|a, b| score(a).total_cmp(&score(b)));
    let example = match nearest.filter(|about| score(about) >= ALIKE) {
        Some(about) => format!("did you mean {}?", about.name),
        None => "`crossfade config` lists all variables".to_owned(),
    };
    Problem { name: name.to_owned(), what: "is not a variable of crossfade".to_owned(), example }
}
