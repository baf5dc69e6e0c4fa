//! Patterns with `*`. Matching costs pattern × text at worst, whatever the pattern: no backtracking.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Is(Box<str>),
    StartsWith(Box<str>),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    One(char),
    /// Any number of characters but `/`.
    Segment,
    /// Any number of characters.
    Any,
}

impl Glob {
    /// A pattern for names: exact, or `*` for anything.
    #[must_use]
    pub fn name(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(head) if !head.contains('*') => Self(Form::StartsWith(head.into())),
            _ if !text.contains('*') => Self(Form::Is(text.into())),
            _ => Self(Form::Pieces(
                text.chars().map(|c| if c == '*' { Piece::Any } else { Piece::One(c) }).collect(),
            )),
        }
    }

    /// A pattern for paths: without `*` a beginning; else the whole path, `*` within a segment and `**` across.
    #[must_use]
    pub fn path(text: &str) -> Self {
        if !text.contains('*') {
            return Self(Form::StartsWith(text.into()));
        }
        let mut pieces = Vec::new();
        for c in text.chars() {
            match (c, pieces.last_mut()) {
                ('*', Some(last)) if *last == Piece::Segment => *last = Piece::Any,
                ('*', Some(Piece::Any)) => {}
                ('*', _) => pieces.push(Piece::Segment),
                (c, _) => pieces.push(Piece::One(c)),
            }
        }
        Self(Form::Pieces(pieces))
    }

    /// Whether a text fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Form::Is(name) => **name == *text,
            Form::StartsWith(head) => text.starts_with(&**head),
            Form::Pieces(pieces) => pieces_match(pieces, text),
        }
    }
}

/// Follows all places of the pattern at once.
fn pieces_match(pieces: &[Piece], text: &str) -> bool {
    let mut places = vec![false; pieces.len() + 1];
    if let Some(first) = places.first_mut() {
        *first = true;
    }
    skip_stars(pieces, &mut places);
    for c in text.chars() {
        let mut next = vec![false; places.len()];
        for (place, piece) in pieces.iter().enumerate() {
            if !places.get(place).is_some_and(|here| *here) {
                continue;
            }
            let to = match piece {
                Piece::One(wanted) if *wanted == c => place + 1,
                Piece::Segment if c != '/' => place,
                Piece::Any => place,
                _ => continue,
            };
            if let Some(slot) = next.get_mut(to) {
                *slot = true;
            }
        }
        skip_stars(pieces, &mut next);
        places = next;
    }
    places.last().is_some_and(|end| *end)
}

/// A star may also stand for nothing.
fn skip_stars(pieces: &[Piece], places: &mut [bool]) {
    for (place, piece) in pieces.iter().enumerate() {
        let here = places.get(place).is_some_and(|here| *here);
        if here
            && matches!(piece, Piece::Segment | Piece::Any)
            && let Some(next) = places.get_mut(place + 1)
        {
            *next = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_what_they_should() {
        for (pattern, text, fits) in [
            ("alert", "alert", true),
            ("alert", "alerts", false),
            ("alert*", "alert:fire", true),
            ("*:update", "user:update", true),
            ("*:update", "user:updated", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(Glob::name(pattern).matches(text), fits, "{pattern} {text}");
        }
        for (pattern, text, fits) in [
            ("/health", "/healthz", true),
            ("/rooms/*", "/rooms/1", true),
            ("/rooms/*", "/rooms/1/chat", false),
            ("/rooms/**", "/rooms/1/chat", true),
            ("/rooms/*/chat", "/rooms/1/chat", true),
            ("**/chat", "/a/b/chat", true),
            ("/*/b", "//b", true),
        ] {
            assert_eq!(Glob::path(pattern).matches(text), fits, "{pattern} {text}");
        }
        let evil = Glob::name(&"*a".repeat(100));
        assert!(!evil.matches(&"b".repeat(10_000)));
    }
}
