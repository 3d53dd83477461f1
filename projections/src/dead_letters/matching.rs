//! Which letters match a filter, and how many do.

use picloud_core::id::{AppId, DeadLetterId};
use sqlx::PgPool;
use uuid::Uuid;

use super::Filter;

struct Found {
    count: i64,
    ids: Option<Vec<Uuid>>,
}

/// The one statement that knows what a filter means: how many match, at most `limit`, and which, newest first, if they are
/// wanted.
async fn find(
    pool: &PgPool,
    app: AppId,
    filter: &Filter,
    before: Option<DeadLetterId>,
    limit: Option<usize>,
    wants_ids: bool,
) -> Result<Found, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"select count(*) as "count!", array_agg(id order by id desc) filter (where $10) as ids
        from (
            select id
            from state.dead_letter
            where app_id = $1
                and (not $2 or resolution is null or resolution = 'handler_failed')
                and ($3::text is null or resolution = $3)
                and ($4::uuid is null or script_id = $4)
                and ($5::text is null or source = $5)
                and ($6::text is null or reason = $6)
                and ($7::text is null or fingerprint = $7)
                and ($8::uuid is null or id < $8)
            order by id desc
            limit $9
        ) found"#,
        app.uuid(),
        filter.is_unresolved,
        filter.resolution,
        filter.script.map(Uuid::from),
        filter.source,
        filter.reason,
        filter.fingerprint,
        before.map(Uuid::from),
        limit.map(|limit| limit as i64),
        wants_ids
    )
    .fetch_one(pool)
    .await
}

/// The letters that match, newest first, before one of them.
///
/// # Errors
/// When the database cannot be asked.
pub async fn matching(
    pool: &PgPool,
    app: AppId,
    filter: &Filter,
    before: Option<DeadLetterId>,
    limit: usize,
) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    let found = find(pool, app, filter, before, Some(limit), true).await?;
    Ok(found.ids.unwrap_or_default().into_iter().map(Into::into).collect())
}

/// How many letters match, counted up to a bound.
///
/// # Errors
/// When the database cannot be asked.
pub async fn count_up_to(pool: &PgPool, app: AppId, filter: &Filter, most: usize) -> Result<usize, sqlx::Error> {
    Ok(whole(find(pool, app, filter, None, Some(most), false).await?.count))
}

/// How many letters match, exactly: from the counters where they know it, else by looking at all of them. For who is about
/// to decide about them, not for lists.
///
/// # Errors
/// When the database cannot be asked.
pub async fn count(pool: &PgPool, app: AppId, filter: &Filter) -> Result<usize, sqlx::Error> {
    match counted(pool, app, filter).await? {
        Some(count) => Ok(count),
        None => Ok(whole(find(pool, app, filter, None, None, false).await?.count)),
    }
}

/// How many letters match, from the counters that the log keeps; none when they do not know, for they tell scripts and
/// resolutions apart and nothing else.
///
/// # Errors
/// When the database cannot be asked.
pub async fn counted(pool: &PgPool, app: AppId, filter: &Filter) -> Result<Option<usize>, sqlx::Error> {
    let Filter { is_unresolved, resolution, script, source: None, reason: None, fingerprint: None } = filter else {
        return Ok(None);
    };
    let count = sqlx::query_scalar!(
        r#"select coalesce(sum(letters), 0)::bigint as "count!"
        from state.dead_letter_count
        where app_id = $1
            and (not $2 or resolution in ('none', 'handler_failed'))
            and ($3::text is null or resolution = $3)
            and ($4::uuid is null or script_id = $4)"#,
        app.uuid(),
        is_unresolved,
        resolution.as_deref(),
        script.map(Uuid::from)
    )
    .fetch_one(pool)
    .await?;
    Ok(Some(whole(count)))
}

fn whole(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}
