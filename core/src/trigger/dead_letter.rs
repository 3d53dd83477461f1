//! Triggers that take care of dead letters.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{Invalid, Kind, Owes};
use crate::{
    event::{Event, dead_letter::Reason, outbox::Source},
    id::{DeadLetterId, ScriptId, TriggerId},
};

/// What kind of thing owed the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeadLetterSource)]
pub enum SourceKind {
    /// A request to an asynchronous route.
    AsyncRoute,
    /// An event that a trigger matched.
    Trigger,
    /// A script, by `invoke::later`.
    Invoke,
}

impl SourceKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AsyncRoute => "async_route",
            Self::Trigger => "trigger",
            Self::Invoke => "invoke",
        }
    }

    const fn is_of(self, source: &Source) -> bool {
        matches!(
            (self, source),
            (Self::AsyncRoute, Source::AsyncRoute { .. })
                | (Self::Trigger, Source::Trigger { .. })
                | (Self::Invoke, Source::Invoke)
        )
    }
}

/// When work becomes a dead letter. Every field that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterTrigger)]
pub struct DeadLetters {
    /// Only of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceKind>,
    /// Only of this trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerId>,
    /// Only when it was this script that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_script: Option<ScriptId>,
}

/// What is known without the letter's payload: that is put in when the handler runs, and is not there any more when the
/// letter was purged.
#[derive(Serialize)]
struct About<'a> {
    dead_letter_id: DeadLetterId,
    reason: Reason,
    attempts: usize,
    last_error: &'a str,
    fingerprint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_id: Option<TriggerId>,
    script_id: ScriptId,
    script_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_attempt_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_at: Option<DateTime<Utc>>,
}

impl Kind for DeadLetters {
    const FIELDS: &'static [&'static str] = &["source", "trigger", "failed_script"];

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }

    fn owes(&self, _: TriggerId, event: &Event) -> Option<Owes> {
        let Event::DeadLetterCreated(letter) = event else { return None };
        let trigger = match letter.source {
            Source::Trigger { trigger } => Some(trigger),
            Source::AsyncRoute { .. } | Source::Invoke => None,
        };
        let fits = self.source.is_none_or(|source| source.is_of(&letter.source))
            && self.trigger.is_none_or(|asked| trigger == Some(asked))
            && self.failed_script.is_none_or(|script| script == letter.script);
        fits.then(|| Owes {
            handles: Some(letter.dead_letter),
            ..Owes::now(&About {
                dead_letter_id: letter.dead_letter,
                reason: letter.reason,
                attempts: letter.attempts.len(),
                last_error: &letter.error,
                fingerprint: &letter.fingerprint,
                trigger_id: trigger,
                script_id: letter.script,
                script_name: &letter.script_name,
                first_attempt_at: letter.attempts.first().map(|attempt| attempt.at),
                last_attempt_at: letter.attempts.last().map(|attempt| attempt.at),
            })
        })
    }

    fn selects(&self) -> String {
        let Self { source, trigger, failed_script } = self;
        let asked = [
            source.map(|source| source.as_str().to_owned()),
            trigger.map(|trigger| trigger.to_string()),
            failed_script.map(|script| script.to_string()),
        ];
        let asked: Vec<_> = asked.into_iter().flatten().collect();
        if asked.is_empty() { "*".to_owned() } else { asked.join(" ") }
    }

    fn sample(&self, now: DateTime<Utc>) -> Value {
        let mut about = json!(About {
            dead_letter_id: Ulid::nil().into(),
            reason: Reason::AttemptsExhausted,
            attempts: 1,
            last_error: "an example of an error",
            fingerprint: "example: an example of an error",
            trigger_id: self.trigger,
            script_id: self.failed_script.unwrap_or_else(|| Ulid::nil().into()),
            script_name: "example",
            first_attempt_at: Some(now),
            last_attempt_at: Some(now),
        });
        about["original"] = json!({ "event": { "kind": "queue", "queue": { "queue": "example", "message": {} } } });
        about
    }

    fn most_at_once(all: &[&Self]) -> usize {
        // A letter may fit any two that name different things of it.
        all.len()
    }
}
