//! Limits of how much is let in, off unless asked for: connections of one address, upgrades in one second. Neither is
//! a protection that the proxy needs for itself; both protect a service that cannot do so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The part of an IPv6 address that one subscriber has; the rest is his to choose.
const SUBSCRIBER: u128 = !(u64::MAX as u128);

/// Connections open by address. Only as large as there are connections.
#[derive(Debug)]
pub(super) struct Addresses {
    limit: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
}

impl Addresses {
    pub(super) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// Counts a connection; `None` when its address has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = subscriber(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_insert(0);
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place { addresses: Arc::clone(self), address })
    }
}

/// One counted connection; gives its place back on drop.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Who an address is counted as: an IPv6 network of 64 bits, or an IPv4 address, mapped or not.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A token bucket that holds one second's worth.
#[derive(Debug)]
pub(super) struct Pace {
    a_second: f64,
    bucket: Mutex<Option<(f64, Instant)>>,
}

impl Pace {
    pub(super) fn new(a_second: u32) -> Self {
        Self { a_second: f64::from(a_second), bucket: Mutex::new(None) }
    }

    /// Whether one more may pass at `now`.
    pub(super) fn admit(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, then) = bucket.unwrap_or((self.a_second, now));
        let earned = now.saturating_duration_since(then).as_secs_f64() * self.a_second;
        let tokens = (tokens + earned).min(self.a_second);
        let admitted = tokens >= 1.0;
        *bucket = Some((if admitted { tokens - 1.0 } else { tokens }, now.max(then)));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_gets_them_back() {
        let addresses = Addresses::new(2);
        let enter = |text: &str| addresses.enter(text.parse().unwrap());
        let first = enter("192.0.2.1");
        let _mapped = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let _v6 = [enter("2001:db8::1").unwrap(), enter("2001:db8::ffff:2").unwrap()];
        assert!(enter("2001:db8::3").is_none(), "one network of 64 bits is one subscriber");
        let other = enter("2001:db8:0:1::1");
        assert!(other.is_some());
        drop(other);
        assert_eq!(addresses.open.lock().unwrap().len(), 2, "who is gone is forgotten");
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_one_burst(
            a_second in 1u32..200, gaps in proptest::collection::vec(0u64..40, 1..400),
        ) {
            #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
            let start = Instant::now();
            let pace = Pace::new(a_second);
            let (mut at, mut admitted) = (0, 0);
            for gap in gaps {
                at += gap;
                admitted += u32::from(pace.admit(start + Duration::from_millis(at)));
            }
            let most = f64::from(a_second) * (1.0 + at as f64 / 1000.0);
            prop_assert!(f64::from(admitted) <= most + 1e-6, "{} in {} ms", admitted, at);
            prop_assert!(pace.admit(start + Duration::from_millis(at + 1000)), "a second later there is room");
        }
    }
}
