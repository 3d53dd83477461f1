//! Who is told when something is wrong with the instance.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use picloud_core::{
    alert::{ChannelKind, Condition},
    id::SecretId,
    log::Position,
};
use sqlx::PgConnection;
use tracing::warn;

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertChannel {
    /// Its name.
    pub name: String,
    /// How it is told.
    pub kind: ChannelKind,
    /// Host and port of its address.
    pub host: String,
    /// The name of its address.
    pub secret: SecretId,
    /// What it hears of; none is everything.
    pub conditions: Option<Vec<Condition>>,
    /// So long it hears nothing again of the same matter, in seconds.
    pub cooldown_s: u32,
    /// Whether it is told at all.
    pub is_enabled: bool,
    /// Since when there is one of that name.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

/// All there are, by name.
pub type AlertChannels = BTreeMap<String, Arc<AlertChannel>>;

impl AlertChannel {
    /// Whether it is to hear of something.
    #[must_use]
    pub fn hears_of(&self, condition: Condition) -> bool {
        self.is_enabled && self.conditions.as_ref().is_none_or(|wanted| wanted.contains(&condition))
    }
}

pub(super) async fn load(connection: &mut PgConnection) -> Result<AlertChannels, sqlx::Error> {
    let rows = sqlx::query!(
        "select name, kind, host, secret, conditions, cooldown_s, is_enabled, created_at, position from state.alert_channel"
    )
    .fetch_all(connection)
    .await?;
    let mut channels = AlertChannels::new();
    for row in rows {
        let Some(kind) = ChannelKind::read(&row.kind) else {
            warn!(
                alert.channel = row.name,
                kind = row.kind,
                "An alert channel is of a kind that this version cannot tell"
            );
            continue;
        };
        let conditions = row.conditions.map(|all| all.iter().filter_map(|word| Condition::read(word)).collect());
        let channel = AlertChannel {
            name: row.name.clone(),
            kind,
            host: row.host,
            secret: row.secret.into(),
            conditions,
            cooldown_s: row.cooldown_s.unsigned_abs(),
            is_enabled: row.is_enabled,
            created_at: row.created_at,
            position: Position(row.position),
        };
        channels.insert(row.name, Arc::new(channel));
    }
    Ok(channels)
}
