//! Who may ask and who may change. Judged from the request's head alone, before anything of the body is read.
//!
//! A page that a browser has open elsewhere must not reach this API: `Host` is an address or `localhost` (a name
//! that was rebound to us is refused), a change needs `Authorization` and `application/json` (neither can be sent
//! across origins without a preflight, which nobody answers), and `Origin`, where there is one, is ours.

use std::fmt;
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};

use super::problem::Problem;

/// A bearer token. Compared without telling by the time how much was right, and never shown.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// This text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    fn is(&self, given: &[u8]) -> bool {
        let wanted = self.0.as_bytes();
        let differ = given.iter().zip(wanted).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
        given.len() == wanted.len() && differ == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Without a token, over loopback: everything but samples and the names of keys.
    Anonymous,
    /// May see everything.
    View,
    /// May change things.
    Operate,
}

impl Role {
    /// The word in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::View => "view",
            Self::Operate => "operate",
        }
    }
}

/// What the listener was told about access.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `CROSSFADE_ADMIN_TOKEN`.
    pub operate: Option<Token>,
    /// `CROSSFADE_ADMIN_VIEW_TOKEN`.
    pub view: Option<Token>,
    /// The listener is bound to a loopback address.
    pub loopback: bool,
}

impl Access {
    /// The role of a request, if it may do what it asks for.
    ///
    /// # Errors
    /// The refusal: 421 for a foreign `Host`, 403 for a foreign `Origin`, 401 without the right token, 403 for a
    /// change that the role does not allow, 415 for a change that is not JSON.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<Role, Problem> {
        let host = is_direct(headers)?;
        is_same_origin(headers, &host)?;
        let role = self.role(headers)?;
        if method != Method::GET && method != Method::HEAD {
            self.may_change(role)?;
            is_json(headers)?;
        }
        Ok(role)
    }

    /// The role, from `Authorization` alone.
    ///
    /// # Errors
    /// 401.
    pub fn role(&self, headers: &HeaderMap) -> Result<Role, Problem> {
        let refuse = |message: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
        if self.loopback && self.operate.is_none() && self.view.is_none() {
            return Ok(Role::Anonymous);
        }
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            // Where a view token was set, viewing is meant to need it.
            let open = self.loopback && self.view.is_none();
            return if open {
                Ok(Role::Anonymous)
            } else {
                refuse("a token is needed: send `Authorization: Bearer …`")
            };
        };
        let Some(given) = given.as_bytes().strip_prefix(b"Bearer ") else {
            return refuse("`Authorization` is not a bearer token: send `Authorization: Bearer …`");
        };
        if self.operate.as_ref().is_some_and(|token| token.is(given)) {
            Ok(Role::Operate)
        } else if self.view.as_ref().is_some_and(|token| token.is(given)) {
            Ok(Role::View)
        } else {
            refuse("the token is wrong")
        }
    }

    fn may_change(&self, role: Role) -> Result<(), Problem> {
        let refuse = |code, message: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, message));
        match role {
            Role::Operate => Ok(()),
            _ if self.operate.is_none() => refuse(
                "read_only",
                "nothing can be changed: no token is configured. Start crossfade with CROSSFADE_ADMIN_TOKEN \
                 (or CROSSFADE_ADMIN_TOKEN_FILE) and send it as `Authorization: Bearer …`",
            ),
            Role::View => refuse("view_only", "this token may only view; changes need CROSSFADE_ADMIN_TOKEN"),
            Role::Anonymous => {
                Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "changes need a token"))
            }
        }
    }
}

/// `Host` is an address or `localhost`: a page that rebinds its own name to this address sends that name.
///
/// # Errors
/// 421.
pub(in crate::admin) fn is_direct(headers: &HeaderMap) -> Result<Authority, Problem> {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let direct = host.filter(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
    });
    direct.ok_or_else(|| {
        let message =
            "`Host` must be an address or localhost; a name could have been rebound to this listener";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", message)
    })
}

/// A browser that sends `Origin` has loaded the page from here.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = [format!("http://{host}"), format!("https://{host}")];
    if own.iter().any(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes())) {
        return Ok(());
    }
    let message = "`Origin` is another one than this listener's; open the dashboard from here";
    Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", message))
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "changes are sent as JSON: add `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message))
}
