//! Triggers that fire by the clock.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Invalid, Kind, Owes};
use crate::{
    event::Event,
    id::TriggerId,
    schedule::{MissedPolicy, OverlapPolicy, Schedule, ScheduleError},
};

/// When the clock shows certain times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CronTrigger)]
pub struct Cron {
    /// Five or six fields, or `@daily` and the like.
    #[schema(example = "30 2 * * *")]
    pub schedule: String,
    /// The IANA name of the zone whose clock it is.
    #[serde(default = "utc")]
    #[schema(default = "UTC", example = "Europe/Berlin")]
    pub time_zone: String,
    /// What becomes of times at which nothing could be fired.
    #[serde(default)]
    pub missed: MissedPolicy,
    /// What becomes of times at which the last run goes on.
    #[serde(default)]
    pub overlap: OverlapPolicy,
}

fn utc() -> String {
    "UTC".to_owned()
}

#[derive(Serialize)]
struct About<'a> {
    schedule: &'a str,
    time_zone: &'a str,
    due_at: DateTime<Utc>,
    /// How many due times before it were passed over.
    passed_over: u64,
}

impl Cron {
    /// The times.
    ///
    /// # Errors
    /// What is wrong with the expression or the zone.
    pub fn times(&self) -> Result<Schedule, ScheduleError> {
        Schedule::parse(&self.schedule, &self.time_zone)
    }
}

impl Kind for Cron {
    const FIELDS: &'static [&'static str] = &["schedule", "time_zone", "missed", "overlap"];

    fn check(&self) -> Result<(), Invalid> {
        self.times().map(|_| ()).map_err(|error| {
            let field = if matches!(error, ScheduleError::Zone { .. }) { "time_zone" } else { "schedule" };
            Invalid::new(field, error.to_string())
        })
    }

    fn owes(&self, trigger: TriggerId, event: &Event) -> Option<Owes> {
        let Event::CronFired(fired) = event else { return None };
        if fired.trigger != trigger || fired.is_skipped {
            return None;
        }
        let about = About {
            schedule: &self.schedule,
            time_zone: &self.time_zone,
            due_at: fired.due_at,
            passed_over: fired.passed_over,
        };
        Some(Owes { lane: self.lane(trigger, None), ..Owes::now(&about) })
    }

    fn lane(&self, trigger: TriggerId, _: Option<&str>) -> Option<String> {
        // Whoever fires looks there, too, for a run that goes on.
        (self.overlap != OverlapPolicy::Allow).then(|| trigger.to_string())
    }

    fn selects(&self) -> String {
        format!("{} {}", self.schedule, self.time_zone)
    }

    fn sample(&self, now: DateTime<Utc>) -> Value {
        json!(About { schedule: &self.schedule, time_zone: &self.time_zone, due_at: now, passed_over: 0 })
    }

    fn most_at_once(all: &[&Self]) -> usize {
        all.len().min(1)
    }
}
