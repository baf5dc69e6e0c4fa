//! The Supabase plan: a preset's word, or the numbers that were agreed.

use super::numbers::Size;
use super::var::{Value, choose};

/// The Supabase plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Free.
    Free,
    /// Pro with the spend cap.
    Pro,
    /// Pro without the spend cap.
    ProNoCap,
    /// Team.
    Team,
    /// Numbers of one's own: an enterprise contract, a raised limit, a self-hosted server.
    Custom(CustomPlan),
}

/// Numbers of one's own; `None` takes Team's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomPlan {
    /// Messages per second: sends and deliveries.
    pub messages: u32,
    /// Channel joins per second.
    pub joins: Option<u32>,
    /// Channels on one connection.
    pub channels: Option<u32>,
    /// Largest payload, in bytes.
    pub payload: Option<u32>,
    /// Messages that a month includes.
    pub included: Option<u64>,
    /// US cents for each started million beyond.
    pub cents: Option<u32>,
}

const SHAPE: &str = "is neither free, pro, pro-no-cap, team nor custom:MESSAGES_PER_SECOND with joins=, channels=, \
                     payload=, included=, price= behind commas";

impl Value for Plan {
    const KIND: &'static str = "free | pro | pro-no-cap | team | custom:MESSAGES_PER_SECOND[,NAME=NUMBER...]";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(numbers) = text.strip_prefix("custom:") {
            return custom(numbers).map(Self::Custom);
        }
        let words =
            [("free", Self::Free), ("pro", Self::Pro), ("pro-no-cap", Self::ProNoCap), ("team", Self::Team)];
        choose(text, &words).map_err(|_| SHAPE.to_owned())
    }
}

fn custom(numbers: &str) -> Result<CustomPlan, String> {
    let mut parts = numbers.split(',').map(str::trim);
    let messages = parts.next().and_then(positive).ok_or("has no whole number of messages per second")?;
    let mut plan = CustomPlan { messages, ..CustomPlan::default() };
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| SHAPE.to_owned())?;
        let wrong = |what: &str| format!("has a {name}= that is not {what}");
        match name {
            "joins" => plan.joins = Some(positive(value).ok_or_else(|| wrong("a whole number above 0"))?),
            "channels" => {
                plan.channels = Some(positive(value).ok_or_else(|| wrong("a whole number above 0"))?)
            }
            "payload" => {
                plan.payload = Some(payload(value).ok_or_else(|| wrong("a size from 4KiB to 1GiB"))?)
            }
            "included" => plan.included = Some(value.parse().map_err(|_| wrong("a whole number"))?),
            "price" => {
                plan.cents = Some(cents(value).ok_or_else(|| wrong("dollars per million, like 2.50"))?)
            }
            _ => return Err(SHAPE.to_owned()),
        }
    }
    Ok(plan)
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=100_000_000).contains(n))
}

fn payload(text: &str) -> Option<u32> {
    let bytes = Size::parse(text).ok()?.0;
    u32::try_from(bytes).ok().filter(|n| (4_096..=1 << 30).contains(n))
}

/// Dollars with at most two decimals, as cents.
fn cents(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    format!("{whole}{decimals:0<2}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_plan_is_read_to_the_cent() {
        let text = "custom:1000,joins=200,channels=50,payload=512KiB,included=10000000,price=2.5";
        let plan = CustomPlan {
            messages: 1000,
            joins: Some(200),
            channels: Some(50),
            payload: Some(512 << 10),
            included: Some(10_000_000),
            cents: Some(250),
        };
        assert_eq!(Plan::parse(text), Ok(Plan::Custom(plan)));
        let bare = CustomPlan { messages: 7, ..CustomPlan::default() };
        assert_eq!(Plan::parse("custom:7"), Ok(Plan::Custom(bare)));
        assert_eq!(Plan::parse("pro-no-cap"), Ok(Plan::ProNoCap));
    }

    #[test]
    fn a_wrong_plan_says_what_is_wrong() {
        for (text, expected) in [
            ("enterprise", "neither free"),
            ("custom:", "messages per second"),
            ("custom:0", "messages per second"),
            ("custom:10,speed=1", "neither free"),
            ("custom:10,payload", "neither free"),
            ("custom:10,payload=1KiB", "payload= that is not a size"),
            ("custom:10,price=2.505", "price= that is not dollars"),
            ("custom:10,joins=-1", "joins= that is not"),
        ] {
            let error = Plan::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
