//! What PostgREST answers when it cannot: `{"code","message","details","hint"}` with a status that follows from the
//! code (PostgREST's documentation, "Errors"). The same table serves the memory and a real PostgreSQL.

use super::super::json::write_text;
use super::super::machine::HttpAnswer;
use super::JSON;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct RestError {
    /// `PGRSTnnn`, or an SQLSTATE.
    pub code: String,
    pub message: String,
    pub details: Option<String>,
    pub hint: Option<String>,
}

impl RestError {
    pub(in super::super) fn new(code: &str, message: impl Into<String>) -> RestError {
        RestError { code: code.to_owned(), message: message.into(), details: None, hint: None }
    }

    pub(super) fn details(self, details: impl Into<String>) -> RestError {
        RestError { details: Some(details.into()), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> RestError {
        RestError { hint: Some(hint.into()), ..self }
    }

    /// A part of the query that cannot be read.
    pub(super) fn query(part: &str, text: &str) -> RestError {
        RestError::new("PGRST100", format!("\"failed to parse {part} ({text})\" (line 1, column 1)"))
            .details("unexpected input")
    }

    pub(in super::super) fn no_table(schema: &str, table: &str) -> RestError {
        RestError::new("PGRST205", format!("Could not find the table '{schema}.{table}' in the schema cache"))
    }

    pub(super) fn no_column(table: &str, column: &str) -> RestError {
        RestError::new(
            "PGRST204",
            format!("Could not find the '{column}' column of '{table}' in the schema cache"),
        )
    }

    /// A column that a filter, an order or a selection names.
    pub(super) fn undefined(table: &str, column: &str) -> RestError {
        RestError::new("42703", format!("column {table}.{column} does not exist"))
    }

    /// The HTTP status of a code; `anonymous` says that the role is the one of requests without a token.
    #[must_use]
    pub(super) fn status(&self, anonymous: bool) -> u16 {
        let code = self.code.as_str();
        match code {
            "PGRST205" | "PGRST202" | "PGRST125" | "42883" | "42P01" => 404,
            "PGRST101" | "PGRST105" | "PGRST117" | "25006" => 405,
            "PGRST103" => 416,
            "PGRST106" | "PGRST107" | "PGRST116" => 406,
            "PGRST301" | "PGRST302" | "PGRST303" => 401,
            "PGRST000" | "PGRST001" | "PGRST002" | "57P01" => 503,
            "PGRST003" => 504,
            "23503" | "23505" => 409,
            "42501" if anonymous => 401,
            "42501" => 403,
            "22023" if self.message.starts_with("role") && self.message.ends_with("does not exist") => 401,
            "21000" | "53400" | "42P17" => 500,
            "P0001" => 400,
            _ if code.starts_with("PGRST") => 400,
            _ => match code.get(..2) {
                Some("08" | "53") => 503,
                Some("0L" | "0P" | "28") => 403,
                Some(
                    "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV"
                    | "P0" | "XX",
                ) => 500,
                Some("PT") => code.get(2..).and_then(|rest| rest.parse().ok()).unwrap_or(500),
                _ => 400,
            },
        }
    }

    /// As it goes out.
    pub(in super::super) fn answer(&self, anonymous: bool) -> HttpAnswer {
        let status = self.status(anonymous);
        let mut body = "{\"code\":".to_owned();
        write_text(&self.code, &mut body);
        for (key, value) in
            [("details", &self.details), ("hint", &self.hint), ("message", &Some(self.message.clone()))]
        {
            body.push_str(&format!(",\"{key}\":"));
            match value {
                Some(text) => write_text(text, &mut body),
                None => body.push_str("null"),
            }
        }
        body.push('}');
        let mut headers = vec![("proxy-status", format!("PostgREST; error={}", self.code))];
        if status == 401 {
            headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        HttpAnswer { status, content_type: Some(JSON), headers, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_from_codes() {
        for (code, anonymous, status) in [
            ("23505", false, 409),
            ("23502", false, 400),
            ("42501", true, 401),
            ("42501", false, 403),
            ("PGRST205", false, 404),
            ("PGRST103", false, 416),
            ("PGRST116", false, 406),
            ("40001", false, 500),
            ("57014", false, 500),
            ("53300", false, 503),
            ("08006", false, 503),
            ("PT418", false, 418),
            ("22P02", false, 400),
        ] {
            assert_eq!(RestError::new(code, "").status(anonymous), status, "{code}");
        }
    }

    #[test]
    fn the_body_is_json_with_four_members() {
        let error = RestError::new("23505", "duplicate \"x\"").details("Key (id)=(1) already exists.");
        assert_eq!(
            error.answer(false).body,
            r#"{"code":"23505","details":"Key (id)=(1) already exists.","hint":null,"message":"duplicate \"x\""}"#
        );
    }
}
