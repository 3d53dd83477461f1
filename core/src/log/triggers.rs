//! Looks up the triggers that commits are matched against.

use sqlx::{PgConnection, types::Json};
use tracing::error;

use super::Position;
use crate::{
    event::trigger::Definition,
    trigger::{Matcher, Triggers},
};

/// All that are enabled, and as of which change, in one statement and so of one moment.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn load(connection: &mut PgConnection) -> Result<Triggers, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.triggers as version, t.id as "id?", t.app_id as "app_id?",
            t.definition as "definition?: Json<serde_json::Value>"
        from log.writer w left join state.trigger t on t.is_enabled"#
    )
    .fetch_all(connection)
    .await?;
    let version = Position(rows.first().map_or(0, |row| row.version));
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(id), Some(app), Some(Json(definition))) = (row.id, row.app_id, row.definition) else { continue };
        match serde_json::from_value::<Definition>(definition) {
            Ok(Definition { when, script, retry }) => {
                all.push((app.into(), Matcher { trigger: id.into(), when, script, retry }));
            }
            // Made by a newer version. Its events, too, are such as only that version writes.
            Err(error) => error!(%error, trigger.id = %id, "A trigger is not known to this version: it is passed by"),
        }
    }
    Ok(Triggers::new(version, all))
}
