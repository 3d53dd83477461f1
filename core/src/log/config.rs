//! Folds configuration events into their tables, a statement or two an event.
//!
//! These nouns are rare, so they have plain statements instead of a place in `log.append`; both run in one transaction
//! under the log's lock. Things whose past can be asked for are read, evolved ([`crate::state`]) and written back: what an
//! event makes of them is said there, once.

mod accounts;
mod alerts;
mod dead_letters;
mod http_exceptions;
mod jobs;
mod outbox;
mod partitions;
mod routes;
mod scripts;
mod topics;
mod triggers;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{NewEvent, Position, Read};
use crate::{
    event::{Event, alert, api_key, app, cron, dead_letter, domain, env, route, script, trigger},
    id::AppId,
};

/// Whether nothing that a commit based itself on was configured differently after it looked. Asked under the lock, with the
/// commit's own events already appended behind `head`.
pub(super) async fn is_fresh(
    connection: &mut PgConnection,
    reads: &[Read],
    head: Position,
) -> Result<bool, sqlx::Error> {
    for read in reads {
        let (app, as_of) = match read {
            Read::Config { app, as_of } => (app, as_of),
            Read::Cron { trigger, version } => {
                if triggers::decided(&mut *connection, *trigger).await? != *version {
                    return Ok(false);
                }
                continue;
            }
            Read::Alert { channel, condition, subject, version } => {
                if alerts::version(&mut *connection, channel, *condition, subject).await? != *version {
                    return Ok(false);
                }
                continue;
            }
            Read::LastSeal { position } => {
                if is_sealed_after(&mut *connection, *position, head).await? {
                    return Ok(false);
                }
                continue;
            }
            // Letters all at once, below; items and lanes are looked at before anything is appended, keys by the append.
            Read::DeadLetter { .. }
            | Read::Owed { .. }
            | Read::Lane { .. }
            | Read::Kv { .. }
            | Read::KvRange { .. } => continue,
        };
        let changed = sqlx::query_scalar!(
            r#"select exists (
                select from log.config
                where position > $1 and position <= $2 and app_id is not distinct from $3
                    -- Kept like configuration, but nothing is set up differently by them.
                    and split_part(kind, '.', 1) <> all ('{dead_letter,job,seal,alert,partition}')
            ) as "changed!""#,
            as_of.0,
            head.0,
            app.map(Uuid::from)
        )
        .fetch_one(&mut *connection)
        .await?;
        if changed {
            return Ok(false);
        }
    }
    dead_letters::are_unchanged(connection, reads).await
}

/// Whether somebody else has sealed the log since a seal.
async fn is_sealed_after(
    connection: &mut PgConnection,
    position: Position,
    head: Position,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select from log.config where position > $1 and position <= $2 and kind = 'seal.sealed'
        ) as "sealed!""#,
        position.0,
        head.0
    )
    .fetch_one(connection)
    .await
}

/// Writes what an event changes of how things are set up. Other events pass by.
pub(super) async fn fold(
    connection: &mut PgConnection,
    new: &NewEvent,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let app = new.app.map(Uuid::from);
    match &new.event {
        Event::AppCreated(event) => app_created(connection, event, position, at).await,
        Event::AppRenamed(event) => app_renamed(connection, event, position).await,
        Event::AppPaused(event) => app_paused(connection, event.app, true, position).await,
        Event::AppResumed(event) => app_paused(connection, event.app, false, position).await,
        Event::AppDeleted(event) => app_deleted(connection, event, position, at).await,
        Event::AppPurged(event) => app_purged(connection, event, position, at).await,
        Event::DomainClaimed(event) => domain_claimed(connection, app, event, position, at).await,
        Event::DomainReleased(event) => domain_released(connection, event).await,
        Event::EnvSet(event) => env_set(connection, app, event, position).await,
        Event::EnvDeleted(event) => env_deleted(connection, app, event).await,
        Event::HttpExceptionAllowed(event) => http_exceptions::allowed(connection, app, event, position, at).await,
        Event::HttpExceptionRemoved(event) => http_exceptions::removed(connection, app, event).await,
        Event::ScriptDeployed(script::Deployed { script, .. })
        | Event::ScriptActivated(script::Activated { script, .. })
        | Event::ScriptPaused(script::Paused { script })
        | Event::ScriptResumed(script::Resumed { script })
        | Event::ScriptDeleted(script::Deleted { script }) => {
            scripts::changed(connection, new, *script, position, at).await
        }
        Event::TriggerCreated(trigger::Created { trigger, .. })
        | Event::TriggerUpdated(trigger::Updated { trigger, .. })
        | Event::TriggerEnabled(trigger::Enabled { trigger, .. })
        | Event::TriggerDisabled(trigger::Disabled { trigger, .. })
        | Event::TriggerPaused(trigger::Paused { trigger })
        | Event::TriggerResumed(trigger::Resumed { trigger })
        | Event::TriggerDeleted(trigger::Deleted { trigger }) => {
            triggers::changed(connection, new, *trigger, position, at).await
        }
        Event::CronFired(cron::Fired { trigger, due_at, .. })
        | Event::CronCarriedForward(cron::CarriedForward { trigger, due_at }) => {
            triggers::settled(connection, *trigger, *due_at, position).await
        }
        Event::QueueConfigured(event) => triggers::queue_configured(connection, app, event, position, at).await,
        Event::QueuePaused(event) => triggers::queue_paused(connection, app, &event.queue, true, position, at).await,
        Event::QueueResumed(event) => triggers::queue_paused(connection, app, &event.queue, false, position, at).await,
        Event::TopicRegistered(event) => topics::registered(connection, app, event, position, at).await,
        Event::TopicDeleted(event) => topics::deleted(connection, app, event).await,
        Event::RouteBound(route::Bound { route, .. })
        | Event::RouteUpdated(route::Updated { route, .. })
        | Event::RouteUnbound(route::Unbound { route }) => routes::changed(connection, new, *route, position, at).await,
        Event::ApiKeyMinted(event) => api_key_minted(connection, event, position, at).await,
        Event::ApiKeyRevoked(event) => api_key_revoked(connection, event, position, at).await,
        Event::MemberGranted(event) => accounts::member_granted(connection, app, event, position, at).await,
        Event::MemberRemoved(event) => accounts::member_removed(connection, app, event).await,
        Event::AccountCreated(event) => accounts::created(connection, event, position, at).await,
        Event::AccountRenamed(event) => accounts::renamed(connection, event, position).await,
        Event::AccountEmailChanged(event) => accounts::email_changed(connection, event, position).await,
        Event::AccountRoleGranted(event) => accounts::role_granted(connection, event, position).await,
        Event::AccountLinkIssued(event) => accounts::link_issued(connection, event, position).await,
        Event::AccountPasswordSet(event) => accounts::password_set(connection, event, position).await,
        Event::AccountTotpEnabled(event) => accounts::totp_enabled(connection, event, position).await,
        Event::AccountTotpDisabled(event) => accounts::totp_disabled(connection, event, position).await,
        Event::AccountRecoveryCodeUsed(event) => accounts::recovery_code_used(connection, event, position).await,
        Event::AccountDeactivated(event) => accounts::activated(connection, event.account, false, position).await,
        Event::AccountReactivated(event) => accounts::activated(connection, event.account, true, position).await,
        Event::DeadLetterCreated(event) => dead_letters::created(connection, new, event, position, at).await,
        Event::DeadLetterReplayed(dead_letter::Replayed { dead_letter, .. })
        | Event::DeadLetterResolved(dead_letter::Resolved { dead_letter, .. })
        | Event::DeadLetterHandlerEnded(dead_letter::HandlerEnded { dead_letter, .. })
        | Event::DeadLetterPurged(dead_letter::Purged { dead_letter }) => {
            dead_letters::changed(connection, new, *dead_letter, position, at).await
        }
        Event::OutboxEnqueued(event) => match event.handles {
            Some(letter) => dead_letters::changed(connection, new, letter, position, at).await,
            None => Ok(()),
        },
        Event::OutboxCarriedForward(event) => outbox::carried_forward(connection, app, &event.0, position).await,
        Event::PartitionArchived(event) => partitions::archived(connection, event).await,
        Event::OutboxPaused(event) => outbox::paused(connection, event, position, at).await,
        Event::OutboxResumed(_) => outbox::resumed(connection, position, at).await,
        Event::AlertChannelSet(event) => alerts::channel_set(connection, event, position, at).await,
        Event::AlertChannelRemoved(event) => alerts::channel_removed(connection, event).await,
        Event::AlertRaised(event) => alerts::raised(connection, new, event, position, at).await,
        Event::AlertRecovered(event) => alerts::recovered(connection, event, position, at).await,
        Event::AlertRescheduled(event) => alerts::rescheduled(connection, event, position).await,
        Event::AlertDelivered(alert::Delivered { alert, notice, refused, .. }) => {
            alerts::told(connection, *alert, *notice, refused.as_deref(), position, at).await
        }
        Event::AlertFailed(alert::Failed { alert, notice, error, .. }) => {
            alerts::told(connection, *alert, *notice, Some(error), position, at).await
        }
        Event::BackupFailed(event) => alerts::backup_failed(connection, event, position, at).await,
        Event::JobStarted(event) => jobs::started(connection, new, event, position, at).await,
        Event::JobProgressed(event) => jobs::progressed(connection, event, position, at).await,
        Event::JobCancellationRequested(event) => jobs::to_be_cancelled(connection, new, event, position).await,
        Event::JobEnded(event) => jobs::ended(connection, event, position, at).await,
        // Files and secrets are the state.
        Event::MasterKeyRotated(_)
        | Event::BackupTaken(_)
        | Event::BackupRestored(_)
        | Event::TopicKeyRotated(_)
        | Event::MessagePublished(_)
        | Event::MessageSent(_)
        | Event::OutboxRescheduled(_)
        | Event::OutboxDelivered(_)
        | Event::OutboxExhausted(_)
        | Event::OutboxCancelled(_)
        | Event::KvSet(_)
        | Event::KvIncreased(_)
        | Event::KvDeleted(_)
        | Event::KvSnapshot(_)
        | Event::InvocationStarted(_)
        | Event::InvocationLogged(_)
        | Event::InvocationJournaled(_)
        | Event::InvocationCompleted(_)
        | Event::InvocationFailed(_)
        | Event::SealSealed(_)
        | Event::SessionOpened(_)
        | Event::SessionClosed(_)
        | Event::ProjectionRebuilt(_) => Ok(()),
    }
}

async fn app_created(
    connection: &mut PgConnection,
    event: &app::Created,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.app (id, slug, created_at, position) values ($1, $2, $3, $4)",
        event.app.uuid(),
        event.slug,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn app_renamed(
    connection: &mut PgConnection,
    event: &app::Renamed,
    position: Position,
) -> Result<(), sqlx::Error> {
    // The name that it takes may be one that it had.
    sqlx::query!("delete from state.former_slug where slug = $1 and app_id = $2", event.slug, event.app.uuid())
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into state.former_slug (slug, app_id, position) select slug, id, $2 from state.app where id = $1
        on conflict (slug) do update set app_id = excluded.app_id, position = excluded.position",
        event.app.uuid(),
        position.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update state.app set slug = $2, position = $3 where id = $1",
        event.app.uuid(),
        event.slug,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn app_paused(
    connection: &mut PgConnection,
    app: AppId,
    is_paused: bool,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update state.app set is_paused = $2, position = $3 where id = $1", app.uuid(), is_paused, position.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// What belongs to it goes with it; its kv entries, which may be millions, are swept later.
async fn app_deleted(
    connection: &mut PgConnection,
    event: &app::Deleted,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.app where id = $1", event.app.uuid()).execute(&mut *connection).await?;
    sqlx::query!(
        "insert into state.deleted_app (id, slug, deleted_at, position) values ($1, $2, $3, $4)",
        event.app.uuid(),
        event.slug,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn app_purged(
    connection: &mut PgConnection,
    event: &app::Purged,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.deleted_app set purged_at = $2, position = $3 where id = $1",
        event.app.uuid(),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn domain_claimed(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &domain::Claimed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.domain (id, app_id, host, created_at, position) values ($1, $2, $3, $4, $5)",
        event.domain.uuid(),
        app,
        event.host,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn domain_released(connection: &mut PgConnection, event: &domain::Released) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.domain where id = $1", event.domain.uuid()).execute(connection).await?;
    Ok(())
}

async fn env_set(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &env::Set,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.env (app_id, name, value, position) values ($1, $2, $3, $4)
        on conflict (app_id, name) do update set value = excluded.value, position = excluded.position",
        app,
        event.name,
        event.value,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn env_deleted(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &env::Deleted,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.env where app_id = $1 and name = $2", app, event.name).execute(connection).await?;
    Ok(())
}

async fn api_key_minted(
    connection: &mut PgConnection,
    event: &api_key::Minted,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let scopes: Vec<String> = event.scopes.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into state.api_key (id, name, prefix, scopes, app_id, account_id, expires_at, created_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        event.key.uuid(),
        event.name,
        event.prefix,
        &scopes,
        event.app.map(Uuid::from),
        event.account.map(Uuid::from),
        event.expires_at,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn api_key_revoked(
    connection: &mut PgConnection,
    event: &api_key::Revoked,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.api_key set revoked_at = $2, position = $3 where id = $1",
        event.key.uuid(),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
