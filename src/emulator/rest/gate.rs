//! Who asks: the gateway's key and PostgREST's token, with the words of each. The bearer wins over the key.

use super::super::config::fits;
use super::super::connect::{header, parameter};
use super::super::http::{BODY_MAX, HttpRequest};
use super::super::machine::{Emulator, HttpAnswer, Life};
use super::super::token::{BadToken, body_text};
use super::JSON;
use super::error::RestError;
use std::time::Instant;

/// Whose request it is.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct Caller {
    pub role: String,
    /// Claims as JSON text: policies read them.
    pub claims: String,
}

/// Without the claims.
impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Caller {
    /// Errors of permission are 401 instead of 403 for it.
    pub(in super::super) fn anonymous(&self) -> bool {
        self.role == "anon"
    }
}

impl Emulator {
    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// The answer of the gateway or of PostgREST.
    pub(in super::super) fn rest_caller(
        &mut self,
        request: &HttpRequest,
        now: Instant,
    ) -> Result<Caller, HttpAnswer> {
        self.handle_timeout(now);
        let plain = |status: u16, message: &str, hint: &str| HttpAnswer {
            status,
            content_type: Some(JSON),
            headers: Vec::new(),
            body: format!("{{\"message\":\"{message}\",\"hint\":\"{hint}\"}}"),
        };
        if self.life != Life::Up {
            return Err(plain(503, "name resolution failed", "the emulated project is down"));
        }
        if request.body.len() > BODY_MAX {
            return Err(plain(413, "Payload Too Large", "split the batch"));
        }
        let key = header(&request.headers, "apikey")
            .map(str::to_owned)
            .or_else(|| parameter(&request.query, "apikey"));
        let bearer = header(&request.headers, "authorization").and_then(|value| value.split_once(' '));
        let bearer = bearer
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.to_owned());
        let unix = self.clock.unix(now);
        if let Some(key) = &key
            && matches!(self.config.secret.verify(key, unix), Err(bad) if !matches!(bad, BadToken::Expired { .. }))
        {
            return Err(plain(
                401,
                "Invalid API key",
                "Double check your Supabase `anon` or `service_role` API key.",
            ));
        }
        let Some(token) = bearer.or(key) else {
            return Err(plain(
                401,
                "No API key found in request",
                "No `apikey` request header or url param was found.",
            ));
        };
        match self.config.secret.verify(&token, unix) {
            Ok(claims) => Ok(Caller { role: claims.role().to_owned(), claims: body_text(&token) }),
            Err(bad) => Err(refused(bad, &token).answer(false)),
        }
    }

    /// Whose token of a channel it is.
    pub(in super::super) fn caller_of(&self, token: &str, now: Instant) -> Caller {
        let claims = self.config.secret.verify(token, self.clock.unix(now));
        let role = claims.map_or_else(|_| "anon".to_owned(), |claims| claims.role().to_owned());
        Caller { role, claims: body_text(token) }
    }

    /// Whether row-level security lets a role read or write a table of the memory; `service_role` bypasses it.
    pub(in super::super) fn may_use(&self, role: &str, table: &str) -> (bool, bool) {
        let policies = || {
            self.config
                .table_policies
                .iter()
                .filter(|policy| policy.role == role && fits(&policy.topic, table))
        };
        let all = role == "service_role";
        (all || policies().any(|policy| policy.read), all || policies().any(|policy| policy.write))
    }
}

fn refused(bad: BadToken, token: &str) -> RestError {
    let parts = token.split('.').count();
    match bad {
        BadToken::Malformed if parts != 3 => {
            RestError::new("PGRST301", format!("Expected 3 parts in JWT; got {parts}"))
        }
        BadToken::Malformed => RestError::new("PGRST301", "JWT couldn't be decoded"),
        BadToken::Algorithm => RestError::new("PGRST301", "Wrong or unsupported encoding algorithm"),
        BadToken::Signature => RestError::new("PGRST301", "No suitable key or wrong key type")
            .details("None of the keys was able to decode the JWT"),
        BadToken::Claims => RestError::new("PGRST303", "Parsing claims failed"),
        BadToken::Expired { .. } => RestError::new("PGRST303", "JWT expired"),
    }
}
