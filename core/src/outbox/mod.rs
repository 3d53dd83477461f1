//! The life of an item of the outbox, as rules: when it is tried again, and when it is a dead letter.
//!
//! Pure. Who runs items asks here what follows from how an attempt ended, and appends that with the run's own end.

mod gate;
mod payload;
mod replay;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    event::{
        Actor, FailureReason,
        dead_letter::Reason,
        outbox::{Attempt, Enqueued, Payload},
    },
    id::{AppId, EventId, InvocationId},
    run::RetryHint,
};

pub use gate::Gate;
use payload::seen;
pub use payload::{Kept, Plain, seen_within};
pub use replay::{Replay, Replayable, again};

/// An item that is pending, with all that a run of it needs.
#[derive(Clone, Debug)]
pub struct Item {
    /// Whose.
    pub app: AppId,
    /// The event that owes it.
    pub event: EventId,
    /// When it was owed.
    pub enqueued_at: DateTime<Utc>,
    /// What it is.
    pub enqueued: Enqueued,
    /// Who made it be owed.
    pub actor: Actor,
    /// What its chain is named after; none when it begins one.
    pub root: Option<InvocationId>,
    /// How far it lies from that.
    pub depth: u16,
    /// What failed so far, in order.
    pub failed: Vec<Attempt>,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    Again {
        /// Not before.
        due_at: DateTime<Utc>,
    },
    /// A letter.
    Letter(Reason),
}

impl Item {
    /// What its chain is named after. One that begins with an item has no first run yet, and may have several attempts at that: it
    /// bears the item's own ULID.
    #[must_use]
    pub fn chain(&self) -> InvocationId {
        self.root.unwrap_or_else(|| self.enqueued.item.ulid().into())
    }

    /// The number of the next attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        u16::try_from(self.failed.len()).unwrap_or(u16::MAX - 1) + 1
    }

    /// What happened, as every attempt sees it: with its time, which was not known when the item was made, and what more is
    /// said of it.
    #[must_use]
    pub fn event(&self, more: &[(&str, &RawValue)]) -> Option<Box<RawValue>> {
        match &self.enqueued.payload {
            Payload::Request(_) => None,
            Payload::Event(event) => {
                let occurred_at = to_raw_value(&self.enqueued_at).expect("a time is plain data");
                Some(seen(event, &[&[("occurred_at", &*occurred_at)], more].concat()))
            }
        }
    }

    /// What follows when the next attempt fails, and its script wished for something. `random`, from 0 to 1, spreads the
    /// pauses of many.
    #[must_use]
    pub fn after_failure(
        &self,
        reason: FailureReason,
        wish: Option<RetryHint>,
        random: f64,
        now: DateTime<Utc>,
    ) -> Next {
        let attempt = self.attempt();
        if wish == Some(RetryHint::Never) {
            return Next::Letter(Reason::GaveUp);
        }
        if attempt >= self.enqueued.retry.max_attempts {
            return Next::Letter(Reason::AttemptsExhausted);
        }
        let pause = match (wish, reason) {
            (Some(RetryHint::After(seconds)), _) => TimeDelta::seconds(i64::from(seconds)),
            // The node went away, not the script: there is nothing to be patient with.
            (_, FailureReason::Abandoned) => TimeDelta::zero(),
            _ => TimeDelta::from_std(self.enqueued.retry.pause(attempt, random)).unwrap_or(TimeDelta::zero()),
        };
        Next::Again { due_at: now + pause }
    }
}

/// What is alike of letters that failed for the same reason: the script and what is alike of the errors.
#[must_use]
pub fn fingerprint(script: &str, error: &str) -> String {
    format!("{script}: {}", alike(error))
}

/// What is alike of errors that happened for the same reason: numbers, ids and quoted texts are cut out.
#[must_use]
pub fn alike(error: &str) -> String {
    let mut alike = String::with_capacity(error.len());
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        let (shown, taken) = match first {
            '"' | '\'' | '`' => match rest[1..].find(first) {
                Some(end) => ("…", end + 2),
                None => ("", 1),
            },
            c if c.is_alphanumeric() => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = &rest[..end];
                (if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word }, end)
            }
            c => (&rest[..c.len_utf8()], c.len_utf8()),
        };
        alike.push_str(shown);
        rest = &rest[taken..];
        if alike.len() > 500 {
            break;
        }
    }
    alike
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::outbox::Source,
        id::{OutboxId, ScriptId},
        retry::RetryPolicy,
    };

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn item(failed: u16, max_attempts: u16) -> Item {
        let retry = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let attempt = |number| Attempt {
            number,
            invocation: None,
            at: NOW,
            reason: FailureReason::Threw,
            error: "boom".to_owned(),
            duration_us: 1,
        };
        let payload = Payload::Event(RawValue::from_string("{}".to_owned()).expect("JSON"));
        Item {
            app: AppId::generate(),
            event: EventId::generate(),
            enqueued_at: NOW,
            enqueued: Enqueued {
                item: OutboxId::generate(),
                source: Source::Invoke,
                script: ScriptId::generate(),
                version: None,
                lane: None,
                priority: 0,
                due_at: None,
                retry,
                payload,
                is_watched: false,
                replay_of: None,
                handles: None,
                carried: None,
            },
            actor: Actor::SYSTEM,
            root: None,
            depth: 0,
            failed: (1..=failed).map(attempt).collect(),
        }
    }

    #[test]
    fn an_attempt_that_failed_is_followed_by_another_after_a_pause() {
        let next = item(1, 5).after_failure(FailureReason::Threw, None, 1.0, NOW);
        assert_eq!(next, Next::Again { due_at: NOW + TimeDelta::seconds(2) });
    }

    #[test]
    fn the_last_failure_makes_a_dead_letter() {
        let next = item(4, 5).after_failure(FailureReason::Threw, None, 1.0, NOW);
        assert_eq!(next, Next::Letter(Reason::AttemptsExhausted));
        let once = item(0, 1).after_failure(FailureReason::TimedOut, None, 1.0, NOW);
        assert_eq!(once, Next::Letter(Reason::AttemptsExhausted));
    }

    #[test]
    fn a_script_may_ask_for_time_or_give_up() {
        let after = item(0, 5).after_failure(FailureReason::Threw, Some(RetryHint::After(90)), 1.0, NOW);
        assert_eq!(after, Next::Again { due_at: NOW + TimeDelta::seconds(90) });
        let never = item(0, 5).after_failure(FailureReason::Threw, Some(RetryHint::Never), 1.0, NOW);
        assert_eq!(never, Next::Letter(Reason::GaveUp));
        let too_late = item(4, 5).after_failure(FailureReason::Threw, Some(RetryHint::After(90)), 1.0, NOW);
        assert_eq!(too_late, Next::Letter(Reason::AttemptsExhausted));
    }

    #[test]
    fn what_a_node_left_behind_is_taken_up_at_once_and_still_counts() {
        let next = item(1, 3).after_failure(FailureReason::Abandoned, None, 1.0, NOW);
        assert_eq!(next, Next::Again { due_at: NOW });
        let last = item(2, 3).after_failure(FailureReason::Abandoned, None, 1.0, NOW);
        assert_eq!(last, Next::Letter(Reason::AttemptsExhausted));
    }

    #[test]
    fn errors_that_differ_in_their_values_alone_are_alike() {
        let one = fingerprint("mail", "order 4711 of `ada@example.com` not found (line 3)");
        let other = fingerprint("mail", "order 12 of `bob@example.com` not found (line 3)");
        assert_eq!(one, "mail: order # of … not found (line #)");
        assert_eq!(one, other);
        assert_ne!(one, fingerprint("post", "order 12 of `bob@example.com` not found (line 3)"));
        assert_eq!(fingerprint("mail", "can't"), "mail: cant");
        assert_eq!(fingerprint("mail", "inv_01JB3Q8Z5K7M9N1P3R5T7V9X04 é"), "mail: # é");
    }
}
