//! Triggers on messages that are published.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use super::{Invalid, Kind, Owes, Pattern};
use crate::{event::Event, id::TriggerId, name};

/// When a message is published to some topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopicTrigger)]
pub struct Topic {
    /// A topic, `prefix.*` or `*`.
    #[schema(value_type = String)]
    pub topic: Pattern,
}

#[derive(Serialize)]
struct About<'a> {
    topic: &'a str,
    message: &'a RawValue,
}

impl Kind for Topic {
    const FIELDS: &'static [&'static str] = &["topic"];

    fn check(&self) -> Result<(), Invalid> {
        let asked = self.topic.as_str();
        if name::is_topic_pattern(asked) {
            return Ok(());
        }
        Err(Invalid::new("topic", name::no_topic_pattern(asked)))
    }

    fn owes(&self, _: TriggerId, event: &Event) -> Option<Owes> {
        let Event::MessagePublished(published) = event else { return None };
        let about = About { topic: &published.topic, message: &published.message };
        self.topic.matches(about.topic).then(|| Owes::now(&about))
    }

    fn selects(&self) -> String {
        self.topic.to_string()
    }

    fn sample(&self, _: DateTime<Utc>) -> Value {
        json!({ "topic": self.topic.example(), "message": { "example": true } })
    }

    fn most_at_once(all: &[&Self]) -> usize {
        Pattern::most_at_once(&all.iter().map(|topic| &topic.topic).collect::<Vec<_>>())
    }
}
