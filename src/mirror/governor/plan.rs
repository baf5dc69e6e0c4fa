//! Supabase's plans as data. Sources, as of 2026-08: `supabase.com/docs/guides/realtime/limits` for the limits,
//! `supabase.com/docs/guides/platform/manage-your-usage/realtime-messages` for included messages and price.

/// What a plan allows and costs, per project; included messages are per organisation and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The word of `CROSSFADE_PLAN`.
    pub name: &'static str,
    /// Broadcasts accepted plus deliveries per second, as a 60 s average.
    pub messages_per_second: u32,
    /// Channel joins per second.
    pub joins_per_second: u32,
    /// Channels on one connection.
    pub channels_per_connection: u32,
    /// Largest broadcast payload, in bytes.
    pub payload_bytes: u32,
    /// Messages that a month includes.
    pub included_per_month: u64,
    /// What each started million beyond costs, in US cents. `None`: it is not sold, the project is restricted.
    pub cents_per_million: Option<u32>,
}

impl Plan {
    /// Free.
    pub const FREE: Self = Self {
        name: "free",
        messages_per_second: 100,
        joins_per_second: 100,
        channels_per_connection: 100,
        payload_bytes: 256_000,
        included_per_month: 2_000_000,
        cents_per_million: None,
    };

    /// Pro with its spend cap: what is beyond the included messages is not sold.
    pub const PRO: Self = Self {
        name: "pro",
        messages_per_second: 500,
        joins_per_second: 500,
        channels_per_connection: 100,
        payload_bytes: 3_000_000,
        included_per_month: 5_000_000,
        cents_per_million: None,
    };

    /// Pro without the spend cap.
    pub const PRO_NO_CAP: Self = Self {
        name: "pro-no-cap",
        messages_per_second: 2_500,
        joins_per_second: 2_500,
        cents_per_million: Some(250),
        ..Self::PRO
    };

    /// Team.
    pub const TEAM: Self = Self { name: "team", ..Self::PRO_NO_CAP };

    /// What was agreed with Supabase: where a number is not told, Team's.
    pub const CUSTOM: Self = Self { name: "custom", ..Self::TEAM };

    /// The preset plans, as the documents list them.
    pub const PRESETS: [Self; 4] = [Self::FREE, Self::PRO, Self::PRO_NO_CAP, Self::TEAM];
}
