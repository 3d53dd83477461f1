//! Folds accounts and memberships.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    event::{account, member},
    id::AccountId,
    log::Position,
};

type Folded = Result<(), sqlx::Error>;

pub(super) async fn created(
    connection: &mut PgConnection,
    event: &account::Created,
    position: Position,
    at: DateTime<Utc>,
) -> Folded {
    sqlx::query!(
        "insert into state.account (id, email, name, role, created_at, position) values ($1, $2, $3, $4, $5, $6)",
        event.account.uuid(),
        event.email,
        event.name,
        event.role.as_str(),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn renamed(connection: &mut PgConnection, event: &account::Renamed, position: Position) -> Folded {
    sqlx::query!(
        "update state.account set name = $3, position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.name
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn email_changed(
    connection: &mut PgConnection,
    event: &account::EmailChanged,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set email = $3, position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.email
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn role_granted(
    connection: &mut PgConnection,
    event: &account::RoleGranted,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set role = $3, position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.role.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn link_issued(
    connection: &mut PgConnection,
    event: &account::LinkIssued,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set link = $3, link_purpose = $4, link_expires_at = $5, position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.link.uuid(),
        event.purpose.as_str(),
        event.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn password_set(
    connection: &mut PgConnection,
    event: &account::PasswordSet,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set password = $3, link = null, link_purpose = null, link_expires_at = null, position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.password.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn totp_enabled(
    connection: &mut PgConnection,
    event: &account::TotpEnabled,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set totp = $3, recovery = $4, recovery_used = '{}', position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        event.seed.uuid(),
        event.recovery.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn totp_disabled(
    connection: &mut PgConnection,
    event: &account::TotpDisabled,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set totp = null, recovery = null, recovery_used = '{}', position = $2 where id = $1",
        event.account.uuid(),
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn recovery_code_used(
    connection: &mut PgConnection,
    event: &account::RecoveryCodeUsed,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set recovery_used = array_append(recovery_used, $3), position = $2 where id = $1",
        event.account.uuid(),
        position.0,
        i16::from(event.code)
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn activated(
    connection: &mut PgConnection,
    account: AccountId,
    is_active: bool,
    position: Position,
) -> Folded {
    sqlx::query!(
        "update state.account set is_active = $3, position = $2 where id = $1",
        account.uuid(),
        position.0,
        is_active
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn member_granted(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &member::Granted,
    position: Position,
    at: DateTime<Utc>,
) -> Folded {
    sqlx::query!(
        "insert into state.member (app_id, account_id, role, created_at, position) values ($1, $2, $3, $4, $5)
        on conflict (app_id, account_id) do update set role = excluded.role, position = excluded.position",
        app,
        event.account.uuid(),
        event.role.as_str(),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn member_removed(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &member::Removed,
) -> Folded {
    sqlx::query!("delete from state.member where app_id = $1 and account_id = $2", app, event.account.uuid())
        .execute(connection)
        .await?;
    Ok(())
}
