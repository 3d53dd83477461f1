//! Triggers that take messages from a queue.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use super::{Invalid, Kind, Owes};
use crate::{event::Event, id::TriggerId, name};

/// When a message is sent to a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QueueTrigger)]
pub struct Queue {
    /// The queue.
    pub queue: String,
}

#[derive(Serialize)]
struct About<'a> {
    queue: &'a str,
    message: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl Kind for Queue {
    const FIELDS: &'static [&'static str] = &["queue"];

    fn check(&self) -> Result<(), Invalid> {
        if name::is_name(&self.queue) {
            return Ok(());
        }
        Err(Invalid::new("queue", format!("`{}` is no name of a queue: use {}", self.queue, name::RULE)))
    }

    fn owes(&self, trigger: TriggerId, event: &Event) -> Option<Owes> {
        let Event::MessageSent(sent) = event else { return None };
        if sent.queue != self.queue {
            return None;
        }
        let key = sent.key.as_deref();
        let about = About { queue: &sent.queue, message: &sent.message, key };
        let lane = self.lane(trigger, key);
        Some(Owes { lane, priority: sent.priority, due_at: sent.due_at, ..Owes::now(&about) })
    }

    fn lane(&self, trigger: TriggerId, key: Option<&str>) -> Option<String> {
        // Each consumer goes at its own pace.
        key.map(|key| format!("{trigger}/{key}"))
    }

    fn selects(&self) -> String {
        self.queue.clone()
    }

    fn sample(&self, _: DateTime<Utc>) -> Value {
        json!({ "queue": self.queue, "message": { "example": true } })
    }

    fn most_at_once(all: &[&Self]) -> usize {
        all.iter().map(|one| all.iter().filter(|other| other.queue == one.queue).count()).max().unwrap_or(0)
    }
}
