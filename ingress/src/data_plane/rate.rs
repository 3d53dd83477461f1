//! How often: per app, per route, per route and address, and per address.
//!
//! Each node counts for itself. What is not limited costs nothing to look up; what is costs a read lock and one atomic.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use parking_lot::RwLock;
use picloud_core::{
    event::route::RateLimit,
    id::{AppId, RouteId},
};

use crate::{
    household::household,
    problem::{Kind, Problem},
};

/// After so many calls, addresses that have not called lately are forgotten.
const SWEEP_EVERY: u32 = 4096;
/// More addresses than this in spite of it, and all are forgotten: memory comes before fairness.
const MAX_ADDRESSES: usize = 100_000;
/// Limits of what no longer exists stay until there are so many.
const MAX_LIMITS: usize = 10_000;

type Addresses = DefaultKeyedRateLimiter<IpAddr>;

/// All counters of a node.
pub(super) struct Rates {
    apps: Limits<AppId, DefaultDirectRateLimiter>,
    routes: Limits<RouteId, DefaultDirectRateLimiter>,
    route_addresses: Limits<RouteId, PerAddress>,
    addresses: Limits<(), PerAddress>,
    clock: DefaultClock,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            apps: Limits::default(),
            routes: Limits::default(),
            route_addresses: Limits::default(),
            addresses: Limits::default(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a call of this node by an address.
    pub(super) fn node(&self, limit: Option<RateLimit>, address: Option<IpAddr>) -> Result<(), Problem> {
        let (Some(limit), Some(address)) = (limit, address) else { return Ok(()) };
        let counted = self.addresses.of((), limit, PerAddress::new).check(address);
        self.told(counted, limit, "your address may call")
    }

    /// Counts a call of an app.
    pub(super) fn app(&self, app: AppId, limit: Option<RateLimit>) -> Result<(), Problem> {
        let Some(limit) = limit else { return Ok(()) };
        let counted = self.apps.of(app, limit, RateLimiter::direct).check();
        self.told(counted, limit, "this app may be called")
    }

    /// Counts a call of a route.
    pub(super) fn route(&self, route: RouteId, limit: Option<RateLimit>) -> Result<(), Problem> {
        let Some(limit) = limit else { return Ok(()) };
        let counted = self.routes.of(route, limit, RateLimiter::direct).check();
        self.told(counted, limit, "this route may be called")
    }

    /// Counts a call of a route by an address.
    pub(super) fn route_address(
        &self,
        route: RouteId,
        limit: Option<RateLimit>,
        address: Option<IpAddr>,
    ) -> Result<(), Problem> {
        let (Some(limit), Some(address)) = (limit, address) else { return Ok(()) };
        let counted = self.route_addresses.of(route, limit, PerAddress::new).check(address);
        self.told(counted, limit, "your address may call this route")
    }

    fn told(&self, counted: Result<(), Wait>, limit: RateLimit, who: &str) -> Result<(), Problem> {
        counted.map_err(|wait| {
            let nanos = wait.wait_time_from(self.clock.now()).as_nanos();
            let seconds = u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1);
            let detail = format!("{who} {} times a second; try again in {seconds} s", limit.per_second.max(1));
            Problem::new(Kind::RateLimited, detail).retry_after(seconds)
        })
    }
}

type Wait = NotUntil<<DefaultClock as Clock>::Instant>;

/// Counters by what they count, each under the limit it was made for.
struct Limits<K, L>(RwLock<HashMap<K, (RateLimit, Arc<L>)>>);

impl<K, L> Default for Limits<K, L> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash + Copy, L: Crowded> Limits<K, L> {
    /// The counter of `key`; another limit, or a crowd, begins a new one.
    fn of(&self, key: K, limit: RateLimit, make: fn(Quota) -> L) -> Arc<L> {
        if let Some((known, counter)) = self.0.read().get(&key)
            && *known == limit
            && !counter.is_crowded()
        {
            return Arc::clone(counter);
        }
        let mut counters = self.0.write();
        if counters.len() >= MAX_LIMITS {
            counters.clear();
        }
        let counter = Arc::new(make(quota(limit)));
        counters.insert(key, (limit, Arc::clone(&counter)));
        counter
    }
}

fn quota(limit: RateLimit) -> Quota {
    let per_second = NonZeroU32::new(limit.per_second).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(per_second).allow_burst(NonZeroU32::new(limit.burst).unwrap_or(per_second))
}

/// Whether a counter holds more than it should.
trait Crowded {
    fn is_crowded(&self) -> bool;
}

impl Crowded for DefaultDirectRateLimiter {
    fn is_crowded(&self) -> bool {
        false
    }
}

struct PerAddress {
    limiter: Addresses,
    calls: AtomicU32,
}

impl PerAddress {
    fn new(quota: Quota) -> Self {
        Self { limiter: RateLimiter::keyed(quota), calls: AtomicU32::new(0) }
    }

    fn check(&self, address: IpAddr) -> Result<(), Wait> {
        self.limiter.check_key(&household(address))
    }
}

impl Crowded for PerAddress {
    fn is_crowded(&self) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY != SWEEP_EVERY - 1 {
            return false;
        }
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.limiter.len() > MAX_ADDRESSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RateLimit = RateLimit { per_second: 1, burst: 2 };

    #[test]
    fn each_counts_for_itself_and_a_changed_limit_begins_anew() {
        let rates = Rates::new();
        let (one, other) = (RouteId::generate(), RouteId::generate());
        assert!(rates.route(one, Some(ONE)).is_ok() && rates.route(one, Some(ONE)).is_ok());
        let refused = rates.route(one, Some(ONE)).expect_err("a third at once");
        assert_eq!(refused.detail(), "this route may be called 1 times a second; try again in 1 s");
        assert!(rates.route(other, Some(ONE)).is_ok());
        assert!(rates.route(one, Some(RateLimit { per_second: 5, burst: 0 })).is_ok());
        assert!(rates.route(one, None).is_ok());
    }

    #[test]
    fn addresses_of_one_household_share_and_others_do_not() {
        let rates = Rates::new();
        let limit = Some(RateLimit { per_second: 1, burst: 1 });
        let from = |address: &str| rates.node(limit, Some(address.parse().expect("an address")));
        assert!(from("2001:db8::1").is_ok());
        assert!(from("2001:db8::ffff:2").is_err());
        assert!(from("2001:db8:0:1::1").is_ok());
        assert!(from("192.0.2.1").is_ok());
        assert!(from("::ffff:192.0.2.1").is_err());
        assert!(from("192.0.2.2").is_ok());
    }

    #[test]
    fn addresses_that_no_longer_call_are_forgotten() {
        let counter = PerAddress::new(quota(RateLimit { per_second: 1_000_000, burst: 1 }));
        for number in 0..SWEEP_EVERY * 2 {
            assert!(!counter.is_crowded());
            assert!(counter.check(IpAddr::V4(number.into())).is_ok());
        }
        assert!(counter.limiter.len() <= SWEEP_EVERY as usize + 1, "{}", counter.limiter.len());
    }
}
