//! From what the server says to a [`Reason`].
//! Join errors are `Code: text`, system messages text only and HTTP refusals JSON or nothing; matching goes by code
//! where there is one, else by the words that have stayed the same across versions. Unknown texts never fail.

use serde::Deserialize;

use super::reason::Reason;

/// Why a join was refused: the `reason` of its error reply.
#[must_use]
pub fn join_error(text: &str) -> Reason {
    let code = text.split(':').next().unwrap_or_default().trim();
    match code {
        "TopicNameRequired" => Reason::TopicName,
        "TenantNotFound" => Reason::TenantUnknown,
        "RealtimeDisabledForTenant" => Reason::TenantSuspended,
        "PrivateOnly" => Reason::PrivateOnly,
        "Unauthorized" => Reason::Unauthorized,
        "MalformedJWT" => Reason::TokenMalformed,
        "JwtSignatureError" => Reason::TokenSignature,
        "JwtSignerError" => Reason::TokenSigner,
        "InvalidJWTExpiration" => Reason::TokenExpired,
        "ChannelRateLimitReached" => Reason::TooManyChannels,
        "ConnectionRateLimitReached" => Reason::TooManyUsers,
        "ClientJoinRateLimitReached" => Reason::TooManyJoins,
        "UnableToReplayMessages" => Reason::ReplayRefused,
        "InitializingProjectConnection" | "RealtimeRestarting" | "TimeoutOnRpcCall" | "ErrorOnRpcCall" => {
            Reason::Initializing
        }
        "UnableToConnectToProject"
        | "DatabaseLackOfConnections"
        | "DatabaseConnectionRateLimitReached"
        | "IncreaseConnectionPool"
        | "QueryCanceled"
        | "MissingPartition" => Reason::Database,
        "UnknownErrorOnChannel" if text.contains("expected params") => Reason::JoinParameters,
        "unmatched topic" => Reason::TopicName,
        _ => token_text(text).or_else(|| common_text(text)).unwrap_or(Reason::OtherJoinError),
    }
}

/// Why a push was refused: the `response` of its error reply, a bare string or an object.
#[must_use]
pub fn push_error(text: &str) -> Reason {
    match text {
        "payload_size_exceeded" => Reason::PayloadTooLarge,
        "unmatched topic" => Reason::UnmatchedTopic,
        _ => token_text(text).or_else(|| common_text(text)).unwrap_or(Reason::OtherPushError),
    }
}

/// What a `system` message means, or `None` when it only informs.
/// A channel's end is told by a `phx_close` behind it; `changes_refused` leaves the channel as it is.
#[must_use]
pub fn system(extension: &str, is_error: bool, message: &str) -> Option<Reason> {
    if message == "Server requested disconnect" {
        return Some(Reason::DisconnectRequested);
    }
    if !is_error {
        return None;
    }
    if extension == "postgres_changes" {
        return Some(Reason::ChangesRefused);
    }
    let lower = message.to_ascii_lowercase();
    Some(if lower.contains("presence") || lower.contains("track message") {
        Reason::TooManyPresence
    } else {
        token_text(message).or_else(|| common_text(message)).unwrap_or(Reason::OtherSystemError)
    })
}

/// Why the server closed, by the close code.
#[must_use]
pub const fn close(code: u16) -> Reason {
    match code {
        1000 => Reason::IdleClose,
        1001 => Reason::TooManyJoins,
        1005 | 1006 => Reason::ConnectionLost,
        1009 => Reason::FrameTooLarge,
        1011 => Reason::SocketCrash,
        1012 => Reason::ServerRestart,
        _ => Reason::OtherClose,
    }
}

/// Why an upgrade was refused.
#[must_use]
pub fn refusal(status: u16, body: &str) -> Reason {
    let text = body_text(body);
    match status {
        401 => token_text(&text).unwrap_or(Reason::TokenMalformed),
        403 if text.is_empty() => Reason::VersionRefused,
        403 if text.contains("disabled") || text.contains("suspended") => Reason::TenantSuspended,
        403 => token_text(&text).unwrap_or(Reason::Unauthorized),
        404 if text.contains("Tenant") => Reason::TenantUnknown,
        404 => Reason::RouteUnknown,
        429 => common_text(&text).unwrap_or(Reason::OtherLimit),
        _ => Reason::OtherRefusal,
    }
}

/// The `error` or `message` of a JSON body; empty for anything else, which is never shown.
pub(super) fn body_text(body: &str) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default, alias = "message")]
        error: String,
    }
    serde_json::from_str::<Body>(body).map(|body| body.error).unwrap_or_default()
}

/// Texts about keys and tokens. "Expired" decides before everything else, as codes for it differ by version.
fn token_text(text: &str) -> Option<Reason> {
    let lower = text.to_ascii_lowercase();
    let has = |word: &str| lower.contains(word);
    Some(if has("expired") {
        Reason::TokenExpired
    } else if has("`role` and `exp`") || has("fields role and exp") || has("claims") {
        Reason::TokenClaims
    } else if has("not a valid jwt") {
        Reason::TokenMalformed
    } else if has("api key is missing") {
        Reason::KeyMissing
    } else if has("jwt signer") {
        Reason::TokenSigner
    } else if has("signature") {
        Reason::TokenSignature
    } else if has("permission") {
        Reason::Unauthorized
    } else {
        return None;
    })
}

/// Texts about limits and the provider's health.
fn common_text(text: &str) -> Option<Reason> {
    let lower = text.to_ascii_lowercase();
    let has = |word: &str| lower.contains(word);
    Some(if has("too many messages") || has("exceeded your rate limit") {
        Reason::TooManyMessages
    } else if has("too many connected users") {
        Reason::TooManyUsers
    } else if has("too many joins") {
        Reason::TooManyJoins
    } else if has("too many channels") {
        Reason::TooManyChannels
    } else if has("too many requests") || has("too many") || has("rate limit") {
        Reason::OtherLimit
    } else if has("replication connection was not established") {
        Reason::Replication
    } else if has("database") || has("connection pool") || has("unable to connect to the project") {
        Reason::Database
    } else if has("initializing") || has("restarting") {
        Reason::Initializing
    } else {
        return None;
    })
}
