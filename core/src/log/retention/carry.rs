//! Says again what is still owed by events that go.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use super::{Leaf, RetentionError};
use crate::{
    event::{
        Actor, cron,
        outbox::{self, Attempt, CarriedForward, Enqueued},
    },
    id::{AppId, OutboxId, TriggerId},
    log::{Commit, CommitError, Committer, NewEvent, Node, Position, Read, Rejected},
};

/// So many things are said again in one commit, that need not be said together.
const AT_ONCE: usize = 100;

/// So much of what is said again goes into one commit, in bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// A lane is said again as a whole, while nobody else appends. One of more items than these has to be waited for.
const MOST_IN_A_LANE: usize = 500;

/// How often it is tried again after somebody was quicker.
const TRIES: u32 = 20;

/// What was said again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// So many items of the outbox,
    pub items: usize,
    /// and triggers whose times were decided about.
    pub triggers: usize,
    /// Lanes that are too long for it: whose, and what they are called.
    pub left: Vec<(AppId, String)>,
}

/// Says again, at the end of the log, what is still owed by the events of a part of it and of all before.
///
/// Items of a lane run in the order in which they are said, so a lane is said again whole.
///
/// # Errors
/// When it cannot be read, or nothing can be said.
pub async fn carry(pool: &PgPool, committer: &Committer, node: &Node, leaf: Leaf) -> Result<Carried, RetentionError> {
    let carrier = Carrier { pool, committer, node };
    let mut carried = Carried { triggers: carrier.triggers(leaf.high).await?, ..Carried::default() };
    for _ in 0..TRIES {
        let (items, lanes) = carrier.owed(leaf.high).await?;
        let lanes: Vec<_> = lanes.into_iter().filter(|lane| !carried.left.contains(lane)).collect();
        if items.is_empty() && lanes.is_empty() {
            break;
        }
        for some in items.chunks(AT_ONCE) {
            carried.items += carrier.items(some).await?;
        }
        for lane in lanes {
            match carrier.lane(&lane).await? {
                Some(items) => carried.items += items,
                None => carried.left.push(lane),
            }
        }
    }
    Ok(carried)
}

struct Carrier<'c> {
    pool: &'c PgPool,
    committer: &'c Committer,
    node: &'c Node,
}

struct Row {
    id: Uuid,
    position: i64,
    app_id: Uuid,
    due_at: DateTime<Utc>,
    failed: Json<Vec<Attempt>>,
    event: Uuid,
    data: Json<Enqueued>,
    actor: Json<Actor>,
    root: Option<Uuid>,
    depth: i16,
    at: DateTime<Utc>,
}

impl Row {
    /// The same work, in the same words; what its events follow from is found where it always was.
    fn again(self) -> NewEvent {
        let carried = outbox::Carried { since: self.data.since(self.at), due_at: self.due_at, failed: self.failed.0 };
        let enqueued = Enqueued { carried: Some(carried), ..self.data.0 };
        NewEvent {
            cause: Some(self.event.into()),
            root: self.root.map(Into::into),
            depth: self.depth.unsigned_abs(),
            ..NewEvent::new(Some(self.app_id.into()), &self.actor.0, CarriedForward(enqueued))
        }
    }
}

impl Carrier<'_> {
    /// The items that are owed by events before a place, those in no lane; and the lanes of the others.
    async fn owed(&self, before: Position) -> Result<(Vec<Uuid>, Vec<(AppId, String)>), sqlx::Error> {
        let items = sqlx::query_scalar!(
            "select id from state.outbox where position < $1 and lane is null order by position",
            before.0
        )
        .fetch_all(self.pool)
        .await?;
        let lanes = sqlx::query!(
            r#"select distinct app_id, lane as "lane!" from state.outbox where position < $1 and lane is not null"#,
            before.0
        )
        .fetch_all(self.pool)
        .await?;
        Ok((items, lanes.into_iter().map(|row| (row.app_id.into(), row.lane)).collect()))
    }

    /// Says items again, in no order. How many were; those that ended meanwhile are not, and those that one of them was in the
    /// way of come next.
    async fn items(&self, items: &[Uuid]) -> Result<usize, RetentionError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select o.id, o.position, o.app_id, o.due_at, o.failed as "failed: Json<Vec<Attempt>>", e.id as event,
                e.data as "data: Json<Enqueued>", e.actor as "actor: Json<Actor>", e.root, e.depth, e.at
            from state.outbox o join log.run e on e.position = o.position
            where o.id = any ($1)
            order by o.position"#,
            items
        )
        .fetch_all(self.pool)
        .await?;
        let (mut said, mut events, mut reads, mut bytes) = (0, Vec::new(), Vec::new(), 0);
        for row in rows {
            reads.push(Read::Owed { item: OutboxId::from(row.id) });
            let event = row.again();
            bytes += event.data.len();
            events.push(event);
            if bytes > MOST_BYTES {
                said += self.say(std::mem::take(&mut events), std::mem::take(&mut reads)).await?;
                bytes = 0;
            }
        }
        Ok(said + self.say(events, reads).await?)
    }

    /// Says all items of a lane again, in their order. None when they are too many.
    async fn lane(&self, (app, lane): &(AppId, String)) -> Result<Option<usize>, RetentionError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select o.id, o.position, o.app_id, o.due_at, o.failed as "failed: Json<Vec<Attempt>>", e.id as event,
                e.data as "data: Json<Enqueued>", e.actor as "actor: Json<Actor>", e.root, e.depth, e.at
            from state.outbox o join log.run e on e.position = o.position
            where o.app_id = $1 and o.lane = $2
            order by o.position
            limit $3"#,
            app.uuid(),
            lane,
            MOST_IN_A_LANE as i64 + 1
        )
        .fetch_all(self.pool)
        .await?;
        if rows.len() > MOST_IN_A_LANE {
            return Ok(None);
        }
        let Some(last) = rows.last().map(|row| Position(row.position)) else { return Ok(Some(0)) };
        let mut reads = vec![Read::Lane { app: *app, lane: lane.clone(), last }];
        reads.extend(rows.iter().map(|row| Read::Owed { item: row.id.into() }));
        self.say(rows.into_iter().map(Row::again).collect(), reads).await.map(Some)
    }

    /// Says again up to where times of triggers were decided about, as far as that was before a place.
    async fn triggers(&self, before: Position) -> Result<usize, RetentionError> {
        let mut said = 0;
        for _ in 0..TRIES {
            let rows = sqlx::query!(
                "select c.trigger_id, c.settled_at, c.position, t.app_id
                from state.cron c join state.trigger t on t.id = c.trigger_id
                where c.position < $1
                order by c.position
                limit $2",
                before.0,
                AT_ONCE as i64
            )
            .fetch_all(self.pool)
            .await?;
            if rows.is_empty() {
                break;
            }
            let (mut events, mut reads) = (Vec::new(), Vec::new());
            for row in rows {
                let trigger = TriggerId::from(row.trigger_id);
                reads.push(Read::Cron { trigger, version: Position(row.position) });
                let again = cron::CarriedForward { trigger, due_at: row.settled_at };
                events.push(NewEvent::new(Some(row.app_id.into()), &Actor::SYSTEM, again));
            }
            said += self.say(events, reads).await?;
        }
        Ok(said)
    }

    /// How many were said: none, when any of it is not so any more.
    async fn say(&self, events: Vec<NewEvent>, reads: Vec<Read>) -> Result<usize, RetentionError> {
        if events.is_empty() {
            return Ok(0);
        }
        let said = events.len();
        let mut commit = Commit::new(self.node.authority(), events);
        commit.reads = reads;
        match self.committer.commit(commit).await {
            Ok(_) => Ok(said),
            Err(CommitError::Rejected(Rejected::Stale)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
