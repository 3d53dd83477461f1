//! Slows guessing down. Each node counts for itself, in memory: what a restart forgets costs a guesser an Argon2id each.
//!
//! Failures count against the address with the account, against the address, and against the account: the first keeps one
//! guesser from one account, the second one guesser from many, the third many guessers from one. The last is the highest,
//! since it keeps the account's holder out, too.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::household::household;

/// Failures are forgotten after a time without one; a lock lasts as long.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// How many are counted at once; who was counted longest ago is forgotten first.
const MAX_COUNTED: NonZeroUsize = NonZeroUsize::new(50_000).expect("50 000 is not 0");

const MAX_OF_PAIR: u32 = 5;
const MAX_OF_ADDRESS: u32 = 30;
const MAX_OF_ACCOUNT: u32 = 100;

/// Counts failures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Throttle {
    counted: Arc<Mutex<LruCache<[u8; 32], Failures>>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// There were too many failures: come again after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts; try again in {retry_after_s} s")]
pub struct TooMany {
    /// After how many seconds.
    pub retry_after_s: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { counted: Arc::new(Mutex::new(LruCache::new(MAX_COUNTED))) }
    }
}

impl Throttle {
    /// Whether somebody may try. An attempt counts as a failure until [`Throttle::succeeded`] says otherwise, so that many
    /// at once are no way around it.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn attempt(&self, address: Option<IpAddr>, account: &str) -> Result<(), TooMany> {
        self.attempt_at(address, account, Instant::now())
    }

    fn attempt_at(&self, address: Option<IpAddr>, account: &str, now: Instant) -> Result<(), TooMany> {
        let mut counted = self.counted.lock();
        for (key, most) in keys(address, account) {
            let Some(failures) = counted.get(&key) else { continue };
            let left = WINDOW.saturating_sub(now.duration_since(failures.last));
            if failures.count >= most && !left.is_zero() {
                return Err(TooMany { retry_after_s: left.as_secs() + 1 });
            }
        }
        for (key, _) in keys(address, account) {
            let failures = counted.get_or_insert_mut(key, || Failures { count: 0, last: now });
            if now.duration_since(failures.last) >= WINDOW {
                failures.count = 0;
            }
            failures.count += 1;
            failures.last = now;
        }
        Ok(())
    }

    /// They were who they said: what they had failed is forgiven, to them.
    pub fn succeeded(&self, address: Option<IpAddr>, account: &str) {
        let mut counted = self.counted.lock();
        let [pair, address, account] = keys(address, account);
        counted.pop(&pair.0);
        for (key, _) in [address, account] {
            if let Some(failures) = counted.get_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }
}

/// What an attempt counts against, and how much each bears.
fn keys(address: Option<IpAddr>, account: &str) -> [([u8; 32], u32); 3] {
    let address = match address.map(household) {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Some(IpAddr::V6(address)) => address,
        None => Ipv6Addr::UNSPECIFIED,
    }
    .octets();
    let key = |label: &[u8], address: &[u8], account: &str| {
        Sha256::new().chain_update(label).chain_update(address).chain_update(account).finalize().into()
    };
    [
        (key(b"pair", &address, account), MAX_OF_PAIR),
        (key(b"address", &address, ""), MAX_OF_ADDRESS),
        (key(b"account", &[], account), MAX_OF_ACCOUNT),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, n]))
    }

    #[test]
    fn after_five_failures_an_address_is_kept_from_an_account_for_a_while_and_from_no_other() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..5 {
            throttle.attempt_at(address(1), "ada", now).expect("allowed");
        }
        assert_eq!(throttle.attempt_at(address(1), "ada", now), Err(TooMany { retry_after_s: 901 }));
        throttle.attempt_at(address(2), "ada", now).expect("from elsewhere");
        throttle.attempt_at(address(1), "bob", now).expect("to another");
        throttle.attempt_at(address(1), "ada", now + WINDOW).expect("later");
    }

    #[test]
    fn an_address_that_tries_many_accounts_is_kept_from_all() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..30 {
            throttle.attempt_at(address(1), &n.to_string(), now).expect("allowed");
        }
        assert!(throttle.attempt_at(address(1), "ada", now).is_err());
        assert!(throttle.attempt_at(address(2), "ada", now).is_ok());
    }

    #[test]
    fn an_account_that_many_addresses_guess_at_is_closed_for_a_while() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..100 {
            throttle.attempt_at(address(n), "ada", now).expect("allowed");
        }
        assert!(throttle.attempt_at(address(200), "ada", now).is_err());
        assert!(throttle.attempt_at(address(200), "bob", now).is_ok());
    }

    #[test]
    fn success_forgives() {
        let throttle = Throttle::default();
        for _ in 0..1000 {
            throttle.attempt(address(1), "ada").expect("allowed");
            throttle.succeeded(address(1), "ada");
        }
    }

    #[test]
    fn a_household_of_v6_is_one_address() {
        let throttle = Throttle::default();
        for n in 0..5 {
            throttle.attempt(Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n])), "ada").expect("allowed");
        }
        assert!(throttle.attempt(Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 9, 9, 9, 9])), "ada").is_err());
        assert!(throttle.attempt(Some(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 0])), "ada").is_ok());
    }
}
