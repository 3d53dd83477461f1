//! How patiently work is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the pauses between attempts grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Each twice as long as the one before.
    #[default]
    Exponential,
    /// Each longer by the first.
    Linear,
    /// All alike.
    Constant,
}

/// How often work is tried and how long the pauses are. Copied to each item when it is made: a later change of a trigger
/// does not touch what waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: u16,
    /// How the pauses grow.
    pub backoff: Backoff,
    /// The first pause, in milliseconds, 0 to 86 400 000.
    #[schema(maximum = 86_400_000)]
    pub base_ms: u64,
    /// The longest pause, in milliseconds, 0 to 86 400 000.
    #[schema(maximum = 86_400_000)]
    pub max_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 5, backoff: Backoff::Exponential, base_ms: 1_000, max_ms: 300_000 }
    }
}

/// A value that a policy cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}: {min} to {max} are allowed")]
pub struct InvalidPolicy {
    /// Which field.
    pub field: &'static str,
    /// What it was.
    pub value: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

/// The longest pause there may be: a day, in milliseconds.
const MAX_PAUSE_MS: u64 = 86_400_000;

impl RetryPolicy {
    /// Whether it can be.
    ///
    /// # Errors
    /// The first field whose value cannot.
    pub const fn check(&self) -> Result<(), InvalidPolicy> {
        let attempts = self.max_attempts as u64;
        if attempts < 1 || attempts > 100 {
            return Err(InvalidPolicy { field: "max_attempts", value: attempts, min: 1, max: 100 });
        }
        if self.base_ms > MAX_PAUSE_MS {
            return Err(InvalidPolicy { field: "base_ms", value: self.base_ms, min: 0, max: MAX_PAUSE_MS });
        }
        if self.max_ms > MAX_PAUSE_MS {
            return Err(InvalidPolicy { field: "max_ms", value: self.max_ms, min: 0, max: MAX_PAUSE_MS });
        }
        Ok(())
    }

    /// How long to wait after so many failed attempts. `random`, from 0 to 1, decides over half of it: many that failed
    /// together do not come back together.
    #[must_use]
    pub fn pause(&self, attempts: u16, random: f64) -> Duration {
        let failed = u32::from(attempts.max(1));
        let grown = match self.backoff {
            Backoff::Exponential => self.base_ms.saturating_mul(1_u64.checked_shl(failed - 1).unwrap_or(u64::MAX)),
            Backoff::Linear => self.base_ms.saturating_mul(u64::from(failed)),
            Backoff::Constant => self.base_ms,
        };
        let whole = Duration::from_millis(grown.min(self.max_ms));
        whole / 2 + whole.mul_f64(random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_LUCK: f64 = 1.0;

    fn pauses(policy: RetryPolicy) -> Vec<u128> {
        (1..=6).map(|attempts| policy.pause(attempts, NO_LUCK).as_millis()).collect()
    }

    #[test]
    fn pauses_grow_as_the_policy_says_up_to_the_longest() {
        let policy = RetryPolicy { max_ms: 10_000, ..RetryPolicy::default() };
        assert_eq!(pauses(policy), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        let linear = RetryPolicy { backoff: Backoff::Linear, max_ms: 4_500, ..policy };
        assert_eq!(pauses(linear), [1_000, 2_000, 3_000, 4_000, 4_500, 4_500]);
        assert_eq!(pauses(RetryPolicy { backoff: Backoff::Constant, ..policy }), [1_000; 6]);
    }

    #[test]
    fn half_of_a_pause_is_luck() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(1, 0.0), Duration::from_millis(500));
        assert_eq!(policy.pause(1, 0.5), Duration::from_millis(750));
        assert_eq!(policy.pause(1, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn a_policy_that_cannot_be_names_the_field() {
        let policy = RetryPolicy { max_attempts: 0, ..RetryPolicy::default() };
        assert_eq!(policy.check().expect_err("none").to_string(), "`max_attempts` is 0: 1 to 100 are allowed");
        let policy = RetryPolicy { max_ms: 86_400_001, ..RetryPolicy::default() };
        assert_eq!(policy.check().expect_err("too long").field, "max_ms");
        assert_eq!(RetryPolicy::default().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(
            base_ms in 0..=MAX_PAUSE_MS, max_ms in 0..=MAX_PAUSE_MS, attempts in 0..=u16::MAX, random in 0.0..=1.0,
        ) {
            for backoff in [Backoff::Exponential, Backoff::Linear, Backoff::Constant] {
                let policy = RetryPolicy { max_attempts: 5, backoff, base_ms, max_ms };
                prop_assert!(policy.pause(attempts, random) <= Duration::from_millis(max_ms));
            }
        }
    }
}
