//! Who runs which item: claims, leases, and what is due now. None of it is in the log: it says nothing that does not follow
//! from `state.outbox` and from which nodes live. What an item is lies in the log alone.
//!
//! None of these statements takes the log's lock. The committer alone ends a lease by ending its item; the database's clock
//! alone says what is due.

mod upkeep;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool, types::Json};
use uuid::Uuid;

pub use upkeep::{recover, sweep, vacuum};

use super::settle;
use crate::{
    event::{
        Actor,
        outbox::{Attempt, Enqueued},
    },
    id::{AppId, NodeEpoch, OutboxId},
    outbox::{Gate, Item},
};

/// An item that was claimed, and where it stood.
#[derive(Debug)]
pub struct Claimed {
    /// The item, leased to the node that asked.
    pub item: Item,
    /// Its rank among those that wait.
    pub rank: i64,
}

struct Row {
    rank: i64,
    app_id: Uuid,
    event: Uuid,
    data: Json<Enqueued>,
    actor: Json<Actor>,
    root: Option<Uuid>,
    depth: i16,
    enqueued_at: DateTime<Utc>,
    failed: Json<Vec<Attempt>>,
}

impl From<Row> for Item {
    fn from(row: Row) -> Self {
        Self {
            app: row.app_id.into(),
            event: row.event.into(),
            enqueued_at: row.data.since(row.enqueued_at),
            enqueued: row.data.0,
            actor: row.actor.0,
            root: row.root.map(Into::into),
            depth: row.depth.unsigned_abs(),
            failed: row.failed.0,
        }
    }
}

/// Where to look for items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub app: AppId,
    /// Behind what.
    pub gate: Gate,
    /// Only behind this rank: what was claimed before is dead there, and a long reader keeps it from being cleaned up.
    pub after: i64,
}

/// The least rank that an item of a priority can have.
#[must_use]
pub const fn first_rank(priority: i16) -> i64 {
    -(priority as i64) * (1 << 40)
}

/// Leases waiting items to a node: the same number from each gate, in the order of their ranks.
///
/// # Errors
/// When the database cannot be asked.
pub async fn claim(pool: &PgPool, epoch: NodeEpoch, turns: &[Turn], each: usize) -> Result<Vec<Claimed>, sqlx::Error> {
    claim_with(pool, epoch, turns, each, None).await
}

/// The same from one gate, as far as no more than `most` of its items are leased then, to all nodes together.
///
/// # Errors
/// When the database cannot be asked.
pub async fn claim_limited(
    pool: &PgPool,
    epoch: NodeEpoch,
    turn: Turn,
    each: usize,
    most: u32,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // One at a time counts and claims. Nobody waits: who is second looks again later.
    let is_first = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "is_first!""#,
        turn.gate.uuid().to_string()
    )
    .fetch_one(&mut *transaction)
    .await?;
    if !is_first {
        return Ok(Vec::new());
    }
    let leased =
        sqlx::query_scalar!(r#"select count(*) as "count!" from live.lease l where l.gate = $1"#, turn.gate.uuid())
            .fetch_one(&mut *transaction)
            .await?;
    let room = usize::try_from(i64::from(most) - leased).unwrap_or(0).min(each);
    let claimed = claim_with(&mut *transaction, epoch, &[turn], room, Some(turn.gate)).await?;
    transaction.commit().await?;
    Ok(claimed)
}

async fn claim_with(
    database: impl PgExecutor<'_>,
    epoch: NodeEpoch,
    turns: &[Turn],
    each: usize,
    counted: Option<Gate>,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let apps: Vec<Uuid> = turns.iter().map(|turn| turn.app.uuid()).collect();
    let gates: Vec<Uuid> = turns.iter().map(|turn| turn.gate.uuid()).collect();
    let after: Vec<i64> = turns.iter().map(|turn| turn.after).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"with wanted as (
            select r.item
            from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as t (app, gate, after)
            cross join lateral (
                select r.item from live.ready r
                where r.app_id = t.app and r.gate = t.gate and r.rank > t.after
                -- As the index has them: rows that are known to be alike are not sorted.
                order by r.app_id, r.gate, r.rank
                limit $4
                for update skip locked
            ) r
        ), picked as (
            -- Arrays, here and below: joins of these would compare each with each.
            delete from live.ready r where r.item = any (array(select item from wanted)) returning r.item, r.rank
        ), fresh as materialized (
            select p.item, p.rank from picked p
            -- By `offset` kept from becoming a join, which would read all leases that there were.
            where not exists (select from live.lease l where l.item = p.item offset 0)
        ), leased as (
            insert into live.lease (item, epoch, gate) select f.item, $5, $6 from fresh f
        )
        select f.rank as "rank!", o.app_id as "app_id!", e.id as "event!", e.data as "data!: Json<Enqueued>",
            e.actor as "actor!: Json<Actor>", e.root, e.depth as "depth!", e.at as "enqueued_at!",
            o.failed as "failed!: Json<Vec<Attempt>>"
        from fresh f
        cross join lateral (select * from state.outbox o where o.id = f.item offset 0) o
        cross join lateral (select * from log.run e where e.position = o.position offset 0) e
        order by f.rank"#,
        &apps,
        &gates,
        &after,
        each as i64,
        epoch.uuid(),
        counted.map(Gate::uuid)
    )
    .fetch_all(database)
    .await?;
    Ok(rows.into_iter().map(|row| Claimed { rank: row.rank, item: row.into() }).collect())
}

/// Gates with items that can run now, and whose they are. Takes a look a gate, however much waits.
///
/// # Errors
/// When the database cannot be asked.
pub async fn waiting(pool: &PgPool) -> Result<Vec<(AppId, Gate)>, sqlx::Error> {
    let gates = sqlx::query!(
        r#"with recursive gates as (
            (select app_id, gate from live.ready order by app_id, gate limit 1)
            union all
            select n.app_id, n.gate
            from gates g
            cross join lateral (
                select r.app_id, r.gate from live.ready r
                where (r.app_id, r.gate) > (g.app_id, g.gate)
                order by r.app_id, r.gate limit 1
            ) n
        )
        select app_id as "app_id!", gate as "gate!" from gates"#
    );
    Ok(gates.fetch_all(pool).await?.into_iter().map(|row| (row.app_id.into(), row.gate.into())).collect())
}

/// What was due, and what is next.
#[derive(Debug, Default)]
pub struct Promoted {
    /// Gates with items that have become due, and the highest priority of these.
    pub gates: Vec<(AppId, Gate, i16)>,
    /// How long until the next is due; none waits without it.
    pub next_in_s: Option<f64>,
}

/// Lets items run that have become due.
///
/// # Errors
/// When the database cannot be asked.
pub async fn promote(pool: &PgPool) -> Result<Promoted, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with due as (
            select d.item from live.delayed d where d.due_at <= clock_timestamp()
            order by d.due_at limit 1000 for update skip locked
        ), moved as (
            delete from live.delayed d using due where d.item = due.item returning d.item, d.app_id, d.gate, d.priority, d.due_at
        ), ready as (
            insert into live.ready (item, app_id, gate, rank)
            select m.item, m.app_id, m.gate, live.next_rank(m.priority) from (select * from moved order by due_at) m
            on conflict (item) do nothing
        )
        select app_id as "app_id!", gate as "gate!", max(priority) as "priority!" from moved group by app_id, gate"#
    )
    .fetch_all(pool)
    .await?;
    let next_in_s = sqlx::query_scalar!(
        r#"select extract(epoch from min(due_at) - clock_timestamp())::float8 as "next_in_s" from live.delayed"#
    )
    .fetch_one(pool)
    .await?;
    let gates = rows.into_iter().map(|row| (row.app_id.into(), row.gate.into(), row.priority)).collect();
    Ok(Promoted { gates, next_in_s })
}

/// Lets others run what this node has leased and will not run. Nothing is said of an attempt: there was none.
///
/// # Errors
/// When the database cannot be asked.
pub async fn give_back(pool: &PgPool, epoch: NodeEpoch, items: &[OutboxId]) -> Result<(), sqlx::Error> {
    let items: Vec<Uuid> = items.iter().map(|item| item.uuid()).collect();
    sqlx::query!(
        "with given as (
            delete from live.lease l where l.item = any ($1) and l.epoch = $2 returning l.item
        )
        insert into live.ready (item, app_id, gate, rank)
        select o.id, o.app_id, o.gate, live.next_rank(o.priority)
        from given g join state.outbox o on o.id = g.item
        on conflict (item) do nothing",
        &items,
        epoch.uuid()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Lets an item run a while later, that this node has leased and that may not run now. There was no attempt.
///
/// # Errors
/// When the database cannot be asked.
pub async fn put_off(pool: &PgPool, epoch: NodeEpoch, item: OutboxId, by: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with given as (
            delete from live.lease l where l.item = $1 and l.epoch = $2 returning l.item
        )
        insert into live.delayed (item, app_id, gate, priority, due_at)
        select o.id, o.app_id, o.gate, o.priority, clock_timestamp() + make_interval(secs => $3)
        from given g join state.outbox o on o.id = g.item
        on conflict (item) do nothing",
        item.uuid(),
        epoch.uuid(),
        by.as_secs_f64()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What is leased to a node.
///
/// # Errors
/// When the database cannot be asked.
pub async fn leased(pool: &PgPool, epoch: NodeEpoch) -> Result<Vec<OutboxId>, sqlx::Error> {
    let leased = sqlx::query_scalar!("select item from live.lease where epoch = $1", epoch.uuid());
    Ok(leased.fetch_all(pool).await?.into_iter().map(Into::into).collect())
}

/// Items that dead nodes had leased, at most a thousand: what their attempts came to is to be told to the log.
///
/// # Errors
/// When the database cannot be asked.
pub async fn orphans(pool: &PgPool) -> Result<Vec<Item>, sqlx::Error> {
    let is_any = sqlx::query_scalar!(
        r#"select exists (
            select from live.nodes n
            cross join lateral (select from live.lease l where l.epoch = n.epoch limit 1) l
            where n.revoked_at is not null
        ) as "exists!""#
    );
    if !is_any.fetch_one(pool).await? {
        return Ok(Vec::new());
    }
    // A batch that was let in before the revocation may still be committing, and end the very items.
    settle::settled(pool).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select 0::bigint as "rank!", o.app_id, e.id as event, e.data as "data: Json<Enqueued>",
            e.actor as "actor: Json<Actor>", e.root, e.depth, e.at as enqueued_at, o.failed as "failed: Json<Vec<Attempt>>"
        from live.lease l
        join live.nodes n on n.epoch = l.epoch and n.revoked_at is not null
        join state.outbox o on o.id = l.item
        join log.run e on e.position = o.position
        order by o.position
        limit 1000"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Item::from).collect())
}
