//! Why something ended or was refused, whose doing it was, and what helps.
//! One closed enum is the source of metric labels, documents and advice; [`super::classify`] makes it of texts.

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Our URL, topic, sizes or join settings: a person must change something.
    OurConfiguration,
    /// Our key or token, or the policies for its role.
    OurAuthorization,
    /// A limit of the plan.
    Quota,
    /// The provider, its database or the network between.
    ProviderOutage,
    /// The server said, or its close code says, that it restarts.
    AnnouncedRestart,
    /// This client: its own planned reconnect, a full queue, a silent heartbeat.
    OwnFault,
}

impl Cause {
    /// Every cause, in label order.
    pub const ALL: [Self; 6] = [
        Self::OurConfiguration,
        Self::OurAuthorization,
        Self::Quota,
        Self::ProviderOutage,
        Self::AnnouncedRestart,
        Self::OwnFault,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OurConfiguration => "our_configuration",
            Self::OurAuthorization => "our_authorization",
            Self::Quota => "quota",
            Self::ProviderOutage => "provider_outage",
            Self::AnnouncedRestart => "announced_restart",
            Self::OwnFault => "own_fault",
        }
    }
}

/// What the link does next, all of it with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Full jitter, 0.5 s doubling to 30 s.
    Reconnect,
    /// 1 to 5 s: the server comes back soon, and everybody was told at once.
    ReturnSoon,
    /// 1 to 10 s.
    Retry,
    /// 5 s doubling to 60 s.
    BackOff,
    /// At least 15 s, doubling to 2 min: the rate is an average that must fall first.
    SlowDown,
    /// 30 to 120 s: somebody else must leave first.
    WaitForRoom,
    /// Ask for a fresh token; with one at once, else as [`Remedy::BackOff`].
    Refresh,
    /// Tell a person; try again every 4 to 6 min, or at once with a new key or token.
    GiveUp,
    /// The push is lost but the channel is well: nothing to do for the link.
    Nothing,
}

/// The specific reason. Closed: whatever is not known ends in one of the `Other…` variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "as_str and advice say it, once")]
pub enum Reason {
    KeyMissing,
    TokenMalformed,
    TokenSignature,
    TokenSigner,
    TokenClaims,
    TokenExpired,
    Unauthorized,
    WriteSilent,
    WriteDenied,
    PrivateOnly,
    TopicName,
    TenantUnknown,
    TenantSuspended,
    VersionRefused,
    RouteUnknown,
    ReplayRefused,
    ChangesRefused,
    JoinParameters,
    PayloadTooLarge,
    FrameTooLarge,
    Certificate,
    TooManyUsers,
    TooManyJoins,
    TooManyChannels,
    TooManyMessages,
    TooManyPresence,
    OtherLimit,
    Initializing,
    Database,
    Replication,
    ChannelCrash,
    ChannelClosed,
    UnmatchedTopic,
    SocketCrash,
    ConnectionLost,
    ConnectFailed,
    ConnectTimeout,
    HeartbeatTimeout,
    JoinTimeout,
    AckTimeout,
    OtherJoinError,
    OtherPushError,
    OtherSystemError,
    OtherRefusal,
    OtherClose,
    ServerRestart,
    DisconnectRequested,
    IdleClose,
    AgeLimit,
    ClockJump,
    Left,
}

impl Reason {
    /// Every reason, in label order.
    pub const ALL: [Self; 51] = {
        use Reason::*;
        [
            KeyMissing,
            TokenMalformed,
            TokenSignature,
            TokenSigner,
            TokenClaims,
            TokenExpired,
            Unauthorized,
            WriteSilent,
            WriteDenied,
            PrivateOnly,
            TopicName,
            TenantUnknown,
            TenantSuspended,
            VersionRefused,
            RouteUnknown,
            ReplayRefused,
            ChangesRefused,
            JoinParameters,
            PayloadTooLarge,
            FrameTooLarge,
            Certificate,
            TooManyUsers,
            TooManyJoins,
            TooManyChannels,
            TooManyMessages,
            TooManyPresence,
            OtherLimit,
            Initializing,
            Database,
            Replication,
            ChannelCrash,
            ChannelClosed,
            UnmatchedTopic,
            SocketCrash,
            ConnectionLost,
            ConnectFailed,
            ConnectTimeout,
            HeartbeatTimeout,
            JoinTimeout,
            AckTimeout,
            OtherJoinError,
            OtherPushError,
            OtherSystemError,
            OtherRefusal,
            OtherClose,
            ServerRestart,
            DisconnectRequested,
            IdleClose,
            AgeLimit,
            ClockJump,
            Left,
        ]
    };

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Whose doing it was.
    #[must_use]
    pub const fn cause(self) -> Cause {
        self.row().1
    }

    /// What the link does next.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        self.row().2
    }

    /// What a person can change, or that nothing needs changing.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        self.row().3
    }

    const fn row(self) -> Row {
        match self.cause_rows() {
            Some(row) => row,
            None => self.outage_row(),
        }
    }

    /// Reasons on our side and of the plan.
    #[rustfmt::skip]
    const fn cause_rows(self) -> Option<Row> {
        use Cause::{OurAuthorization as Auth, OurConfiguration as Conf, Quota};
        use Remedy::{BackOff, GiveUp, Nothing, Refresh, Retry, SlowDown, WaitForRoom};
        Some(match self {
            Self::KeyMissing => ("key_missing", Auth, GiveUp, "no key reached the server; set the Supabase key"),
            Self::TokenMalformed => ("token_malformed", Auth, GiveUp, "the key or token is not a JWT for this server; sb_ keys work only through the gateway"),
            Self::TokenSignature => ("token_signature", Auth, GiveUp, "the key was signed with another secret; was the JWT secret rotated, or is it another project's key?"),
            Self::TokenSigner => ("token_signer", Auth, GiveUp, "the server cannot check the token's algorithm or key id; check the JWT secret and the JWKS"),
            Self::TokenClaims => ("token_claims", Auth, GiveUp, "the token needs the claims role and exp; fix its issuer"),
            Self::TokenExpired => ("token_expired", Auth, Refresh, "the token has expired; renew the file or variable that holds it"),
            Self::Unauthorized => ("unauthorized", Auth, GiveUp, "no policy on realtime.messages lets this role read the topic; add one or use another role"),
            Self::WriteSilent => ("write_silent", Auth, Retry, "the first broadcasts on the private topic get no answer although the server answers; it is joined anew and tried"),
            Self::WriteDenied => ("write_denied", Auth, Retry, "this role may read the private topic and not write it: create policy writers on realtime.messages for insert to ROLE with check (realtime.topic() like 'PREFIX:%'), or use another role; if there is one, the server hangs at broadcasts"),
            Self::PrivateOnly => ("private_only", Conf, GiveUp, "the project allows private channels only; join with private on"),
            Self::TopicName => ("topic_name", Conf, GiveUp, "the topic is empty or does not begin with realtime:"),
            Self::TenantUnknown => ("tenant_unknown", Conf, GiveUp, "no such project here; check the URL, and on a bare server the first label of Host"),
            Self::TenantSuspended => ("tenant_suspended", Conf, GiveUp, "Realtime is switched off for this project; look at its dashboard and its bill"),
            Self::VersionRefused => ("version_refused", Conf, GiveUp, "the server refused the upgrade without a word, as it does for an unknown vsn; check the URL and what stands before it"),
            Self::RouteUnknown => ("route_unknown", Conf, GiveUp, "nothing answers at this path; check the URL's path and the server's version"),
            Self::ReplayRefused => ("replay_refused", Conf, GiveUp, "replay works on private channels only, with since and a limit up to 25"),
            Self::ChangesRefused => ("changes_refused", Conf, Nothing, "the table is not published, or schema, table or filter are wrong"),
            Self::JoinParameters => ("join_parameters", Conf, GiveUp, "the server could not read the join's parameters"),
            Self::PayloadTooLarge => ("payload_too_large", Conf, Nothing, "the payload is over the plan's limit; split it"),
            Self::FrameTooLarge => ("frame_too_large", Conf, BackOff, "a frame was over 5 MB; lower the batch size"),
            Self::Certificate => ("certificate", Conf, GiveUp, "the server's certificate is not trusted; check the URL, the clock and the root certificates"),
            Self::TooManyUsers => ("too_many_users", Quota, WaitForRoom, "the plan's connections are used up; close some or raise the limit"),
            Self::TooManyJoins => ("too_many_joins", Quota, SlowDown, "too many joins per second in the project; stagger them"),
            Self::TooManyChannels => ("too_many_channels", Quota, GiveUp, "this socket has as many channels as the plan allows; use fewer topics or another socket"),
            Self::TooManyMessages => ("too_many_messages", Quota, SlowDown, "the project sends and delivers more messages per second than the plan allows; batch more or raise the limit"),
            Self::TooManyPresence => ("too_many_presence", Quota, SlowDown, "too many or too large presence messages"),
            Self::OtherLimit => ("other_limit", Quota, SlowDown, "a limit was reached; slow down"),
            _ => return None,
        })
    }

    /// Reasons on the provider's side, restarts, and our own doing.
    #[rustfmt::skip]
    const fn outage_row(self) -> Row {
        use Cause::{AnnouncedRestart as Restart, OwnFault as Own, ProviderOutage as Outage};
        use Remedy::{BackOff, Nothing, Reconnect, Retry, ReturnSoon};
        match self {
            Self::Initializing => ("initializing", Outage, Retry, "the project is starting; nothing to do"),
            Self::Database => ("database", Outage, BackOff, "Realtime cannot use the project's database; look at its health and connections"),
            Self::Replication => ("replication", Outage, BackOff, "the database stream was not ready in time; join without replication_ready if it stays so"),
            Self::ChannelCrash => ("channel_crash", Outage, Retry, "the channel's process died on the server; it is joined again"),
            Self::ChannelClosed => ("channel_closed", Outage, Retry, "the server closed the channel without a reason; it is joined again"),
            Self::UnmatchedTopic => ("unmatched_topic", Outage, Retry, "the server no longer knows the channel; it is joined again and the push was lost"),
            Self::SocketCrash => ("socket_crash", Outage, Reconnect, "the server's side of the socket crashed (close 1011)"),
            Self::ConnectionLost => ("connection_lost", Outage, Reconnect, "the connection ended without a close frame: network, a killed server, or a listener that read too slowly"),
            Self::ConnectFailed => ("connect_failed", Outage, Reconnect, "no connection could be made; check name, port and network if it lasts"),
            Self::ConnectTimeout => ("connect_timeout", Outage, Reconnect, "no connection within the time allowed"),
            Self::HeartbeatTimeout => ("heartbeat_timeout", Outage, Reconnect, "a heartbeat was not answered: the connection is dead"),
            Self::JoinTimeout => ("join_timeout", Outage, Reconnect, "a join was not answered, which blocks the socket; a new one is opened"),
            Self::AckTimeout => ("ack_timeout", Outage, BackOff, "pushes are not acknowledged: on a private topic check that a policy lets this role insert; else the server is overloaded"),
            Self::OtherJoinError => ("other_join_error", Outage, BackOff, "the join was refused for a reason this client does not know"),
            Self::OtherPushError => ("other_push_error", Outage, Nothing, "the push was refused for a reason this client does not know"),
            Self::OtherSystemError => ("other_system_error", Outage, BackOff, "the server reported an error this client does not know"),
            Self::OtherRefusal => ("other_refusal", Outage, Reconnect, "the upgrade was refused; look at what stands before the server"),
            Self::OtherClose => ("other_close", Outage, Reconnect, "the server closed with a code this client does not know"),
            Self::ServerRestart => ("server_restart", Restart, ReturnSoon, "the server restarts (close 1012); nothing to do"),
            Self::DisconnectRequested => ("disconnect_requested", Restart, ReturnSoon, "the server asked everybody to reconnect, as after a change of its settings"),
            Self::IdleClose => ("idle_close", Own, Reconnect, "the server heard nothing for 60 s (close 1000); if it repeats, this process or its network stalls"),
            Self::AgeLimit => ("age_limit", Own, Reconnect, "planned: sockets opened with an sb_ key end after 24 h"),
            Self::ClockJump => ("clock_jump", Own, Reconnect, "the clock jumped, as after sleep or migration; the socket was not to be trusted"),
            _ => ("left", Own, Nothing, "we left on purpose"),
        }
    }
}

/// Label, cause, remedy, advice.
type Row = (&'static str, Cause, Remedy, &'static str);
