//! Tables from the protocol, and every error that a real server was recorded to send.

use serde_json::Value;

use super::classify::{close, join_error, push_error, refusal, system};
use super::message::Frame;
use super::reason::{Cause, Reason, Remedy};
use super::recording::{self, Said};

/// The protocol's table of errors: text, reason, cause, remedy.
#[test]
fn join_errors_of_our_making_lead_to_their_remedies() {
    use Cause::{OurAuthorization as Auth, OurConfiguration as Conf};
    for (text, reason, cause, remedy) in [
        ("InvalidJWTToken: Token has expired 50 seconds ago", Reason::TokenExpired, Auth, Remedy::Refresh),
        ("InvalidJWTExpiration: x", Reason::TokenExpired, Auth, Remedy::Refresh),
        (
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT",
            Reason::TokenClaims,
            Auth,
            Remedy::GiveUp,
        ),
        ("MalformedJWT: The token provided is not a valid JWT", Reason::TokenMalformed, Auth, Remedy::GiveUp),
        ("JwtSignatureError: Failed to validate JWT signature", Reason::TokenSignature, Auth, Remedy::GiveUp),
        ("JwtSignerError: x", Reason::TokenSigner, Auth, Remedy::GiveUp),
        (
            "Unauthorized: You do not have permissions to read from this Channel topic: x",
            Reason::Unauthorized,
            Auth,
            Remedy::GiveUp,
        ),
        ("PrivateOnly: This project only allows private channels", Reason::PrivateOnly, Conf, Remedy::GiveUp),
        ("TopicNameRequired: You must provide a topic name", Reason::TopicName, Conf, Remedy::GiveUp),
        ("unmatched topic", Reason::TopicName, Conf, Remedy::GiveUp),
        ("TenantNotFound: x", Reason::TenantUnknown, Conf, Remedy::GiveUp),
        ("RealtimeDisabledForTenant: x", Reason::TenantSuspended, Conf, Remedy::GiveUp),
        ("UnableToReplayMessages: Replay params are not valid", Reason::ReplayRefused, Conf, Remedy::GiveUp),
        (
            "UnknownErrorOnChannel: expected params to be a :map, got: `nil`",
            Reason::JoinParameters,
            Conf,
            Remedy::GiveUp,
        ),
    ] {
        assert_eq!(join_error(text), reason, "{text}");
        assert_eq!((reason.cause(), reason.remedy()), (cause, remedy), "{text}");
    }
}

#[test]
fn join_errors_of_the_plan_and_the_provider_lead_to_their_remedies() {
    use Cause::{ProviderOutage as Outage, Quota};
    for (text, reason, cause, remedy) in [
        ("ChannelRateLimitReached: Too many channels", Reason::TooManyChannels, Quota, Remedy::GiveUp),
        (
            "ConnectionRateLimitReached: Too many connected users",
            Reason::TooManyUsers,
            Quota,
            Remedy::WaitForRoom,
        ),
        (
            "ClientJoinRateLimitReached: Too many joins per second",
            Reason::TooManyJoins,
            Quota,
            Remedy::SlowDown,
        ),
        ("InitializingProjectConnection: x", Reason::Initializing, Outage, Remedy::Retry),
        ("RealtimeRestarting: x", Reason::Initializing, Outage, Remedy::Retry),
        ("TimeoutOnRpcCall: x", Reason::Initializing, Outage, Remedy::Retry),
        ("ErrorOnRpcCall: x", Reason::Initializing, Outage, Remedy::Retry),
        ("UnableToConnectToProject: x", Reason::Database, Outage, Remedy::BackOff),
        ("DatabaseLackOfConnections: x", Reason::Database, Outage, Remedy::BackOff),
        ("DatabaseConnectionRateLimitReached: x", Reason::Database, Outage, Remedy::BackOff),
        ("IncreaseConnectionPool: x", Reason::Database, Outage, Remedy::BackOff),
        ("QueryCanceled: x", Reason::Database, Outage, Remedy::BackOff),
        ("MissingPartition: x", Reason::Database, Outage, Remedy::BackOff),
        ("Realtime was unable to connect to the project database", Reason::Database, Outage, Remedy::BackOff),
        ("Unknown Error on Channel", Reason::OtherJoinError, Outage, Remedy::BackOff),
        ("", Reason::OtherJoinError, Outage, Remedy::BackOff),
    ] {
        assert_eq!(join_error(text), reason, "{text}");
        assert_eq!((reason.cause(), reason.remedy()), (cause, remedy), "{text}");
    }
}

#[test]
fn system_messages_of_the_protocol_are_known() {
    for (extension, error, message, reason) in [
        ("system", true, "Too many messages per second", Some(Reason::TooManyMessages)),
        ("system", true, "Too many presence messages per second", Some(Reason::TooManyPresence)),
        ("system", true, "Client presence rate limit exceeded", Some(Reason::TooManyPresence)),
        ("system", true, "Track message size exceeded", Some(Reason::TooManyPresence)),
        ("system", true, "Token has expired 7 seconds ago", Some(Reason::TokenExpired)),
        ("system", true, ":signature_error", Some(Reason::TokenSignature)),
        ("system", true, "The token provided is not a valid JWT", Some(Reason::TokenMalformed)),
        ("system", true, "You no longer have permission to read x", Some(Reason::Unauthorized)),
        ("system", true, "Replication connection was not established in time", Some(Reason::Replication)),
        ("system", true, "something new", Some(Reason::OtherSystemError)),
        ("system", false, "Server requested disconnect", Some(Reason::DisconnectRequested)),
        ("postgres_changes", true, "Unable to subscribe to changes", Some(Reason::ChangesRefused)),
        ("postgres_changes", false, "Subscribed to PostgreSQL", None),
        ("system", false, "Replication connection established", None),
    ] {
        assert_eq!(system(extension, error, message), reason, "{message}");
    }
    assert_eq!(Reason::DisconnectRequested.cause(), Cause::AnnouncedRestart);
    assert_eq!(Reason::TooManyMessages.remedy(), Remedy::SlowDown);
}

#[test]
fn close_codes_follow_the_table() {
    for (code, reason, cause) in [
        (1000, Reason::IdleClose, Cause::OwnFault),
        (1001, Reason::TooManyJoins, Cause::Quota),
        (1006, Reason::ConnectionLost, Cause::ProviderOutage),
        (1009, Reason::FrameTooLarge, Cause::OurConfiguration),
        (1011, Reason::SocketCrash, Cause::ProviderOutage),
        (1012, Reason::ServerRestart, Cause::AnnouncedRestart),
        (4000, Reason::OtherClose, Cause::ProviderOutage),
    ] {
        assert_eq!((close(code), close(code).cause()), (reason, cause));
    }
}

#[test]
fn upgrade_refusals_are_known() {
    for (status, body, reason) in [
        (401, "{\"error\":\"API key is missing\"}", Reason::KeyMissing),
        (401, "", Reason::TokenMalformed),
        (403, "", Reason::VersionRefused),
        (403, "{\"error\":\"Realtime was disabled for this tenant\"}", Reason::TenantSuspended),
        (404, "{\"error\":\"Tenant not found\"}", Reason::TenantUnknown),
        (404, "<html>", Reason::RouteUnknown),
        (429, "{\"error\":\"Too many connected users\"}", Reason::TooManyUsers),
        (429, "{\"error\":\"Too many joins per second\"}", Reason::TooManyJoins),
        (429, "", Reason::OtherLimit),
        (500, "", Reason::OtherRefusal),
        (503, "<html>", Reason::OtherRefusal),
    ] {
        assert_eq!(refusal(status, body), reason, "{status} {body}");
    }
}

/// Nothing that a real server said falls into an `Other…` reason.
#[test]
fn every_error_in_the_recordings_is_known() {
    let mut seen = 0;
    for path in recording::files() {
        for line in recording::read(&path) {
            let (true, Said::Frame(Frame::Text(text))) = (line.from_server, &line.said) else { continue };
            let Ok(value) = serde_json::from_slice::<Value>(text) else { continue };
            let (event, payload) = match &value {
                Value::Array(parts) => (parts[3].clone(), parts[4].clone()),
                object => (object["event"].clone(), object["payload"].clone()),
            };
            if payload["status"] != "error" {
                continue;
            }
            seen += 1;
            let response = &payload["response"];
            let said = response["reason"].as_str().or(response.as_str()).unwrap_or_default();
            let reason = match event.as_str() {
                Some("system") => {
                    let word = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
                    system(&word("extension"), true, &word("message")).expect("an error means something")
                }
                _ if said.contains(':') => join_error(said),
                _ => push_error(said),
            };
            assert!(!reason.as_str().starts_with("other"), "{said} {payload}");
        }
    }
    assert!(seen >= 45, "only {seen} errors were found");
    for line in recording::lines("06-").into_iter().chain(recording::lines("05b-")) {
        let Said::Http(status, body) = &line.said else { continue };
        if line.conn.is_empty() || *status < 400 || body.contains("message") || body.contains("errors") {
            continue;
        }
        assert!(!refusal(*status, body).as_str().starts_with("other"), "{status} {body}");
    }
}

#[test]
fn reasons_are_complete_and_their_names_unique() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(Reason::ALL.iter().all(|reason| !reason.advice().is_empty()));
    assert_eq!(Reason::Left.as_str(), "left");
}
