//! What is said of an app's topics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use picloud_core::{
    log::Position,
    topic::{Access, Topics},
    trigger::Pattern,
};
use sqlx::PgConnection;
use uuid::Uuid;

/// What is said of a topic, or of all below one.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Who may listen to it from outside.
    pub access: Access,
    /// Since when something is said of it.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

pub(super) async fn load(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, BTreeMap<String, Topic>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select app_id, topic, auth, created_at, position from state.topic where $1::uuid is null or app_id = $1",
        only
    )
    .fetch_all(connection)
    .await?;
    let mut topics: HashMap<Uuid, BTreeMap<String, Topic>> = HashMap::new();
    for row in rows {
        let topic = Topic {
            access: Access::stored(row.auth.as_deref()),
            created_at: row.created_at,
            position: Position(row.position),
        };
        topics.entry(row.app_id).or_default().insert(row.topic, topic);
    }
    Ok(topics)
}

/// The same for whoever asks who may listen.
pub(super) fn access(topics: &BTreeMap<String, Topic>) -> Arc<Topics> {
    Arc::new(topics.iter().map(|(topic, said)| (Pattern::new(topic), said.access)).collect())
}
