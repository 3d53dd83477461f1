//! `retry::`: trying again within a run, and what a script says about being tried again as a whole.

use std::{fmt, time::Duration};

use picloud_core::{nearest::nearest, run::RetryHint};
use rand::RngExt as _;
use rhai::{Dynamic, EvalAltResult, FnPtr, INT, ImmutableString, Map, NativeCallContext};

use crate::sandbox::{
    current::{thrown, with},
    failure::innermost,
    pause::pause,
    registry::Registry,
    value::{Kind, kind_name},
};

type Refused = Box<EvalAltResult>;

const MAX_AFTER_S: INT = 7 * 24 * 60 * 60;
const MAX_ATTEMPTS: INT = 1000;
/// No run lasts longer.
const MAX_PAUSE_MS: INT = 300_000;
const OPTIONS: &[&str] = &["max_attempts", "backoff", "base_ms", "max_ms"];

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "run(policy: map, work: function) -> ?",
            "Calls the function until it does not throw, and throws what it threw last. The policy is \
             `#{max_attempts: 3, backoff: \"exponential\", base_ms: 100, max_ms: 2000}`, each with this default; backoff may \
             also be `linear` or `constant`. What the function wrote before it threw stays written.",
            |context: NativeCallContext, policy: Map, work: FnPtr| run(&context, &Policy::read(&policy)?, &work),
        )
        .add(
            "after(seconds: int) -> Retry",
            "To be thrown: the run, or what `retry::run` calls, is to be tried again after so many seconds, up to a week.",
            |seconds: INT| match seconds {
                0..=MAX_AFTER_S => Ok(Asked::After(u32::try_from(seconds).expect("a week has fewer seconds"))),
                _ => Err(thrown(format!("retry::after: {seconds} seconds: it must be from 0 to {MAX_AFTER_S}, a week"))),
            },
        )
        .add(
            "never(reason: string) -> Retry",
            "To be thrown: the run, or what `retry::run` calls, is not to be tried again.",
            Asked::Never,
        );
}

/// What a script throws to say when, or that never, it is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Asked {
    After(u32),
    Never(ImmutableString),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(seconds) => write!(f, "asked to be tried again after {seconds} s"),
            Self::Never(reason) => write!(f, "gave up: {reason}"),
        }
    }
}

/// What was thrown, if it says something about being tried again.
pub(in crate::sandbox) fn asked(thrown: &Dynamic) -> Option<Asked> {
    thrown.read_lock::<Asked>().map(|asked| asked.clone())
}

/// The same for whoever tries runs again.
pub(in crate::sandbox) fn hint(thrown: &Dynamic) -> Option<RetryHint> {
    asked(thrown).map(|asked| match asked {
        Asked::After(seconds) => RetryHint::After(seconds),
        Asked::Never(_) => RetryHint::Never,
    })
}

fn run(context: &NativeCallContext<'_>, policy: &Policy, work: &FnPtr) -> Result<Dynamic, Refused> {
    let mut failed = 0;
    loop {
        let error = match work.call_within_context::<Dynamic>(context, ()) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failed += 1;
        let cause = innermost(&error).0;
        // What cannot be caught ends the run.
        if failed >= policy.max_attempts || !cause.is_catchable() {
            return Err(error);
        }
        let said = if let EvalAltResult::ErrorRuntime(value, _) = cause { asked(value) } else { None };
        let how_long = match said {
            Some(Asked::Never(_)) => return Err(error),
            Some(Asked::After(seconds)) => Duration::from_secs(seconds.into()),
            None => with(|run| policy.pause_ms(failed, |most| run.random().random_range(0..=most)))
                .map(Duration::from_millis)?,
        };
        drop(error);
        pause(how_long)?;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backoff {
    Exponential,
    Linear,
    Constant,
}

/// How often, and how long after each other.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    max_attempts: u64,
    backoff: Backoff,
    base_ms: u64,
    max_ms: u64,
}

impl Policy {
    fn read(options: &Map) -> Result<Self, Refused> {
        if let Some(unknown) = options.keys().find(|given| !OPTIONS.contains(&given.as_str())) {
            let unknown: String = unknown.chars().take(80).collect();
            let meant = match nearest(&unknown, OPTIONS.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("there is {}", OPTIONS.join(", ")),
            };
            return Err(thrown(format!("retry::run: there is no option `{unknown}`: {meant}")));
        }
        Ok(Self {
            max_attempts: number(options, "max_attempts", 3, 1, MAX_ATTEMPTS)?,
            backoff: backoff(options)?,
            base_ms: number(options, "base_ms", 100, 0, MAX_PAUSE_MS)?,
            max_ms: number(options, "max_ms", 2000, 0, MAX_PAUSE_MS)?,
        })
    }

    /// How long to wait after so many failures: half of it fixed, half of it drawn, so that those who failed together do not
    /// come back together.
    fn pause_ms(&self, failed: u64, draw: impl FnOnce(u64) -> u64) -> u64 {
        let factor = match self.backoff {
            Backoff::Exponential => {
                1_u64.checked_shl(u32::try_from(failed - 1).unwrap_or(u32::MAX)).unwrap_or(u64::MAX)
            }
            Backoff::Linear => failed,
            Backoff::Constant => 1,
        };
        let whole = self.base_ms.saturating_mul(factor).min(self.max_ms);
        whole - whole / 2 + draw(whole / 2)
    }
}

fn number(options: &Map, name: &str, default: u64, least: INT, most: INT) -> Result<u64, Refused> {
    let Some(given) = options.get(name).filter(|given| !given.is_unit()) else { return Ok(default) };
    match given.as_int() {
        Ok(number) if (least..=most).contains(&number) => Ok(number.unsigned_abs()),
        Ok(number) => Err(thrown(format!("retry::run: `{name}` is {number}: it must be from {least} to {most}"))),
        Err(_) => Err(thrown(format!("retry::run: `{name}` is {}: it must be an int", kind_name(given)))),
    }
}

fn backoff(options: &Map) -> Result<Backoff, Refused> {
    let Some(given) = options.get("backoff").filter(|given| !given.is_unit()) else { return Ok(Backoff::Exponential) };
    let text = given.read_lock::<ImmutableString>().map(|text| text.clone()).unwrap_or_default();
    match text.as_str() {
        "exponential" => Ok(Backoff::Exponential),
        "linear" => Ok(Backoff::Linear),
        "constant" => Ok(Backoff::Constant),
        other => {
            let shown = match Kind::of(given) {
                Kind::Text => format!("`{}`", other.chars().take(80).collect::<String>()),
                _ => kind_name(given).to_owned(),
            };
            Err(thrown(format!("retry::run: `backoff` is {shown}: it must be `exponential`, `linear` or `constant`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_as_the_policy_says_up_to_its_most() {
        let policy = |backoff| Policy { max_attempts: 9, backoff, base_ms: 100, max_ms: 500 };
        for (backoff, most) in [
            (Backoff::Exponential, [100, 200, 400, 500, 500]),
            (Backoff::Linear, [100, 200, 300, 400, 500]),
            (Backoff::Constant, [100; 5]),
        ] {
            let policy = policy(backoff);
            let longest: Vec<u64> = (1..=5).map(|failed| policy.pause_ms(failed, |most| most)).collect();
            let shortest: Vec<u64> = (1..=5).map(|failed| policy.pause_ms(failed, |_| 0)).collect();
            assert_eq!(longest, most, "{backoff:?}");
            assert_eq!(shortest, most.map(|ms| ms / 2), "{backoff:?}");
        }
    }

    #[test]
    fn no_number_of_failures_is_too_many() {
        let policy = Policy { max_attempts: 1000, backoff: Backoff::Exponential, base_ms: 300_000, max_ms: 7 };
        for failed in [1, 63, 64, 65, 1000] {
            assert_eq!(policy.pause_ms(failed, |most| most), 7);
        }
    }
}
