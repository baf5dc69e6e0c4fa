//! What a variable is: one value that knows its name, type, default, doc and parser.
//! Tables and error texts are made from [`About`]; [`Var`] adds the Rust type that reading gives.

use std::marker::PhantomData;

/// A type that a variable may have.
pub trait Value: Sized {
    /// The type as the tables name it; alternatives are separated by ` | `.
    const KIND: &'static str;
    /// The unit of the plain figure, or nothing where the text carries its unit.
    const UNIT: &'static str = "";

    /// Reads the text, which is neither empty nor padded.
    ///
    /// # Errors
    /// The problem, as a phrase that completes "`TEXT` …". It must not repeat the text.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A heading of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The service, its clients and this process.
    Service,
    /// TLS on either side, and the PROXY protocol.
    Tls,
    /// The Supabase project.
    Supabase,
    /// Who is fed by Realtime.
    Rollout,
    /// What is copied to Realtime.
    Mirror,
    /// Windows of hot sessions.
    Hot,
    /// When Realtime may not be used.
    Breaker,
    /// Deadlines and limits that protect the proxy.
    Protection,
    /// Stopping.
    Drain,
    /// Listeners, tokens, log.
    Operations,
    /// The admission webhook.
    Inject,
}

impl Group {
    /// Every group, in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::Service,
        Self::Tls,
        Self::Supabase,
        Self::Rollout,
        Self::Mirror,
        Self::Hot,
        Self::Breaker,
        Self::Protection,
        Self::Drain,
        Self::Operations,
        Self::Inject,
    ];

    /// The heading.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Tls => "TLS and PROXY protocol",
            Self::Supabase => "Supabase",
            Self::Rollout => "Rollout",
            Self::Mirror => "Mirror",
            Self::Hot => "Hot lane",
            Self::Breaker => "Breaker",
            Self::Protection => "Protection",
            Self::Drain => "Drain",
            Self::Operations => "Operations",
            Self::Inject => "Admission webhook (`crossfade inject`)",
        }
    }
}

/// Everything about a variable except its Rust type.
#[derive(Debug)]
pub struct About {
    /// The name in the environment.
    pub name: &'static str,
    /// Its heading.
    pub group: Group,
    /// Its type in words.
    pub kind: &'static str,
    /// The unit of a plain figure.
    pub unit: &'static str,
    /// What applies when it is not set, as one would write it.
    pub default: Option<&'static str>,
    /// What "not set" means where there is no default text.
    pub unset: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// A value that is accepted.
    pub example: &'static str,
    /// Never shown, and readable from `NAME_FILE`.
    pub secret: bool,
    /// The process does not start without it.
    pub required: bool,
    /// Whether a text is accepted.
    pub check: fn(&str) -> Result<(), String>,
}

/// A variable of type `T`.
#[derive(Debug)]
pub struct Var<T> {
    /// Its row in the tables.
    pub about: About,
    value: PhantomData<fn() -> T>,
}

impl<T: Value> Var<T> {
    pub(super) const fn new(group: Group, name: &'static str, doc: &'static str) -> Self {
        let about = About {
            name,
            group,
            kind: T::KIND,
            unit: T::UNIT,
            default: None,
            unset: "not set",
            doc,
            example: "",
            secret: false,
            required: false,
            check: accepts::<T>,
        };
        Self { about, value: PhantomData }
    }

    /// The default doubles as the example unless another one follows.
    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.about.default = Some(text);
        self.about.example = text;
        self
    }

    pub(super) const fn unset(mut self, meaning: &'static str) -> Self {
        self.about.unset = meaning;
        self
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.about.unit = unit;
        self
    }

    pub(super) const fn example(mut self, text: &'static str) -> Self {
        self.about.example = text;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.about.secret = true;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.about.required = true;
        self.about.unset = "required";
        self
    }
}

fn accepts<T: Value>(text: &str) -> Result<(), String> {
    T::parse(text).map(drop)
}

/// Finds a word of a closed list; `words` pairs each with its value.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("is not one of {}", list.join(", "))
    })
}
