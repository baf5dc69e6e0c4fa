//! The row of `crossfade_flags`, as PostgREST gives it. Pure: bytes in, a version and a document out.
//!
//! The version is the column's, which a trigger counts; a `version` inside the document means nothing here.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What is asked of PostgREST: the columns, and never more than shows that there are too many.
pub const QUERY: &str = "select=version,document&limit=2";

/// Why an answer is no row of flags. Never quotes the answer: a list in it may hold keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not the columns that were asked for.
    #[error("the answer is not an array of rows with version and document")]
    Form,
    /// Nobody has written the row.
    #[error("the table has no row for this service")]
    None,
    /// The table has another key than ours.
    #[error("the table has more than one row for this service")]
    Many,
}

#[derive(Deserialize)]
struct Row<'a> {
    version: u64,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// The row's version and its document.
///
/// # Errors
/// [`RowError`].
pub fn read(answer: &[u8]) -> Result<(u64, Vec<u8>), RowError> {
    let rows: Vec<Row<'_>> = serde_json::from_slice(answer).map_err(|_| RowError::Form)?;
    match rows.as_slice() {
        [] => Err(RowError::None),
        [row] => Ok((row.version, row.document.get().as_bytes().to_vec())),
        _ => Err(RowError::Many),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Heard, Keeper, KeyHasher, Order};

    #[test]
    fn the_row_is_read_and_its_own_count_is_the_version() {
        let answer = br#"[{"version":7,"document":{"schema": 1, "version":99, "percent":"12.5"}}]"#;
        let (version, document) = read(answer).unwrap();
        assert_eq!((version, document.as_slice()), (7, &answer[25..answer.len() - 2]));
        let mut keeper = Keeper::new(Order::Version, KeyHasher::new(b""));
        let heard = keeper.hear(Some(version), &document);
        assert!(matches!(&heard, Heard::New(flags) if flags.percent.units() == 12_500), "{heard:?}");
        assert_eq!(keeper.good().unwrap().0, 7);
    }

    #[test]
    fn what_is_no_row_is_named_without_being_quoted() {
        assert_eq!(read(b"[]"), Err(RowError::None));
        assert_eq!(
            read(br#"[{"version":1,"document":{}},{"version":2,"document":{}}]"#),
            Err(RowError::Many)
        );
        for garbage in
            ["", "{", "null", "[1]", r#"[{"version":"7","document":{}}]"#, r#"[{"version":-1,"document":1}]"#]
        {
            assert_eq!(read(garbage.as_bytes()), Err(RowError::Form), "{garbage}");
        }
        // A document of another kind is the document's own matter: the keeper names it.
        assert_eq!(read(br#"[{"version":1,"document":[]}]"#), Ok((1, b"[]".to_vec())));
    }
}
