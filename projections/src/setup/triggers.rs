//! Triggers and queues of an app, and what holds back the work they owe.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use picloud_core::{event::trigger::Registrant, id::TriggerId, log::Position, outbox::Gate, state::trigger::Trigger};
use sqlx::{PgConnection, types::Json};
use tracing::warn;
use uuid::Uuid;

use super::App;

/// What is said of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// How many of its messages each consumer works on at once; none is as many as there is room for.
    pub max_concurrency: Option<u32>,
    /// Whether its messages wait.
    pub is_paused: bool,
    /// Since when something is said of it.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

/// How items behind a gate may run, where that is not as many as there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Not now.
    Paused,
    /// So many at once, on all nodes together.
    AtMost(u32),
}

impl App {
    /// A trigger.
    #[must_use]
    pub fn trigger(&self, id: TriggerId) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| trigger.id == id)
    }

    /// Whether anybody takes messages from a queue.
    #[must_use]
    pub fn has_consumer(&self, queue: &str) -> bool {
        self.triggers.iter().any(|trigger| trigger.is_enabled && trigger.queue() == Some(queue))
    }

    /// What waits, or runs a few at a time. Gates that are not in it are open.
    pub fn held(&self) -> impl Iterator<Item = (Gate, Held)> + '_ {
        let is_paused = |script| self.is_paused || self.scripts.iter().any(|one| one.id == script && one.is_paused);
        let scripts = self.scripts.iter().filter(move |script| is_paused(script.id));
        let triggers = self.triggers.iter().filter_map(move |trigger| {
            let queue = trigger.queue().and_then(|queue| self.queues.get(queue));
            let is_held =
                trigger.is_paused || is_paused(trigger.definition.script) || queue.is_some_and(|queue| queue.is_paused);
            let most = queue.and_then(|queue| queue.max_concurrency);
            let held = if is_held { Some(Held::Paused) } else { most.map(Held::AtMost) };
            Some((trigger.id.into(), held?))
        });
        scripts.map(|script| (script.id.into(), Held::Paused)).chain(triggers)
    }
}

pub(super) async fn load(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, Vec<Trigger>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, app_id, definition as "definition: Json<serde_json::Value>",
            registrant as "registrant: Json<Registrant>", is_enabled, disabled_why, is_paused, created_at, since, position
        from state.trigger where ($1::uuid is null or app_id = $1) and deleted_at is null order by id"#,
        only
    )
    .fetch_all(connection)
    .await?;
    let mut triggers: HashMap<Uuid, Vec<Trigger>> = HashMap::new();
    for row in rows {
        let id = TriggerId::from(row.id);
        let definition = match serde_json::from_value(row.definition.0) {
            Ok(definition) => definition,
            Err(error) => {
                warn!(%error, trigger.id = %id, "A trigger is not known to this version");
                continue;
            }
        };
        triggers.entry(row.app_id).or_default().push(Trigger {
            id,
            definition,
            registrant: row.registrant.0,
            is_enabled: row.is_enabled,
            disabled_why: row.disabled_why,
            is_paused: row.is_paused,
            created_at: row.created_at,
            since: row.since,
            position: Position(row.position),
            deleted_at: None,
        });
    }
    Ok(triggers)
}

pub(super) async fn gone(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, HashMap<TriggerId, Registrant>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, app_id, registrant as "registrant: Json<Registrant>"
        from state.trigger where ($1::uuid is null or app_id = $1) and deleted_at is not null"#,
        only
    )
    .fetch_all(connection)
    .await?;
    let mut gone: HashMap<Uuid, HashMap<TriggerId, Registrant>> = HashMap::new();
    for row in rows {
        gone.entry(row.app_id).or_default().insert(row.id.into(), row.registrant.0);
    }
    Ok(gone)
}

pub(super) async fn queues(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, BTreeMap<String, Queue>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select app_id, name, max_concurrency, is_paused, created_at, position
        from state.queue where $1::uuid is null or app_id = $1",
        only
    )
    .fetch_all(connection)
    .await?;
    let mut queues: HashMap<Uuid, BTreeMap<String, Queue>> = HashMap::new();
    for row in rows {
        let queue = Queue {
            max_concurrency: row.max_concurrency.map(i32::unsigned_abs),
            is_paused: row.is_paused,
            created_at: row.created_at,
            position: Position(row.position),
        };
        queues.entry(row.app_id).or_default().insert(row.name, queue);
    }
    Ok(queues)
}
