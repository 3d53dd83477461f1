//! Triggers as they were.

use picloud_core::{
    id::{AppId, TriggerId},
    log::read::{ReadError, Reader},
    state::trigger::{Trigger, evolve},
};

use super::{Moment, Past, about, all, thing, things};

/// A trigger of an app.
///
/// # Errors
/// When the log cannot be read.
pub async fn trigger(
    reader: &Reader,
    app: AppId,
    trigger: TriggerId,
    moment: Moment,
) -> Result<Past<Trigger>, ReadError> {
    Ok(match thing(reader, &about(app, "trigger", trigger.to_string()), moment, evolve).await? {
        // One that went is remembered, for what it made be owed.
        Past::Was(Trigger { deleted_at: Some(at), .. }) => Past::Gone { at },
        past => past,
    })
}

/// All triggers that an app had.
///
/// # Errors
/// When the log cannot be read.
pub async fn triggers(reader: &Reader, app: AppId, moment: Moment) -> Result<Vec<Trigger>, ReadError> {
    let mut triggers = things(reader, &all(app, "trigger"), moment, evolve).await?;
    triggers.retain(|trigger| trigger.deleted_at.is_none());
    Ok(triggers)
}
