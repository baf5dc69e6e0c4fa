//! Where the texts come from: the environment and secret files, or a map in tests.
//! Everything is read once, here; the rest of the room is pure.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::secret::Secret;

/// The largest secret file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// The environment at one moment.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    values: BTreeMap<String, Text>,
    /// Files of a test; `None` reads the disk.
    files: Option<BTreeMap<PathBuf, String>>,
    host: Option<String>,
}

/// What a variable says itself, or the content of the file that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOrFile {
    /// The variable's own text.
    Text(String),
    /// A file's content.
    File(String),
}

/// A value of the environment.
#[derive(Clone)]
pub(super) enum Text {
    Utf8(String),
    NotUtf8,
}

impl std::fmt::Debug for Text {
    /// Any of them may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Strings {
    /// The environment of this process.
    #[must_use]
    pub fn from_env() -> Self {
        let values = std::env::vars_os()
            .filter_map(|(name, value)| {
                let text = value.into_string().map_or(Text::NotUtf8, Text::Utf8);
                name.into_string().ok().map(|name| (name, text))
            })
            .collect();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self { values, files: None, host }
    }

    /// A made-up environment whose only files are those of [`with_file`](Self::with_file).
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.to_owned(), Text::Utf8(value.to_owned())));
        Self { values: values.collect(), files: Some(BTreeMap::new()), host: Some("test-host".to_owned()) }
    }

    /// Adds a file to a made-up environment.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: &str) -> Self {
        self.files.get_or_insert_default().insert(PathBuf::from(path), content.to_owned());
        self
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Text> {
        self.values.get(name)
    }

    /// A value as it stands in the environment, for rooms that judge the texts of their own variables.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Text::Utf8(text)) if !text.trim().is_empty() => Some(text),
            _ => None,
        }
    }

    /// The text of a variable, or of the file that it names by `@/path`.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than 64 KiB.
    pub fn text_or_file(&self, name: &str) -> io::Result<Option<TextOrFile>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        Ok(Some(match text.trim().strip_prefix('@') {
            Some(path) => TextOrFile::File(self.file(Path::new(path))?),
            None => TextOrFile::Text(text.to_owned()),
        }))
    }

    pub(super) fn host(&self) -> Option<&str> {
        match self.values.get("HOSTNAME") {
            Some(Text::Utf8(name)) if !name.trim().is_empty() => Some(name),
            _ => self.host.as_deref(),
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<String> {
        match &self.files {
            Some(files) => files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => read_bounded(path),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    Ok(text)
}

/// Reads a secret file again, for rotation. An empty file is an error: the writer may be half way.
///
/// # Errors
/// The file cannot be read, is too large, is empty, or is not UTF-8.
pub fn read_secret_file(path: &Path) -> io::Result<Secret> {
    let secret = Secret::new(&read_bounded(path)?);
    if secret.expose().is_empty() { Err(io::Error::other("empty")) } else { Ok(secret) }
}
