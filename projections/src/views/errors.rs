//! The view `errors`: how runs fail, those together that are alike.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::{Class, Event, FailureReason},
    id::{AppId, InvocationId, ScriptId, VersionId},
    log::{Position, Recorded, read::Reader},
    outbox,
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Schema,
    archived::forget_counted,
    invocations::word,
    origins::Origins,
    schema::Segments,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "errors";

/// Follows the log.
#[derive(Debug)]
pub(super) struct Errors {
    origins: Origins,
    segments: Segments,
}

impl Errors {
    pub(super) fn new(reader: Reader) -> Self {
        Self { origins: Origins::new(reader), segments: Segments::default() }
    }
}

/// Failures that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    /// Of which script.
    pub script: ScriptId,
    /// What their messages have in common.
    pub alike: String,
    /// How many there were.
    pub failures: u64,
    /// When the first was,
    pub first_at: DateTime<Utc>,
    /// and when the last,
    pub last_at: DateTime<Utc>,
    /// and where that is in the log.
    pub last_position: Position,
    /// The run of the last,
    pub invocation: InvocationId,
    /// what ran,
    pub version: VersionId,
    /// what kind of end it was,
    pub reason: FailureReason,
    /// what it said,
    pub message: String,
    /// and where in the script.
    pub line: Option<u32>,
}

impl View for Errors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> &'static [&'static str] {
        &["error_group"]
    }

    fn classes(&self) -> &'static [Class] {
        &[Class::Config, Class::Run]
    }

    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: Schema) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        self.origins.clear();
        self.segments = Segments::default();
        async { Ok(()) }.boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            let Some(last) = events.last() else { return Ok(()) };
            self.segments.reach(connection, schema, &[], last.position.0).await?;
            self.origins.look_up(events).await?;
            let mut groups: HashMap<Key, ErrorGroup> = HashMap::new();
            for recorded in events {
                let Some(origin) = self.origins.meet(recorded) else { continue };
                let Event::InvocationFailed(failed) = &recorded.event.event else { continue };
                let alike = outbox::alike(&failed.message);
                let segment = self.segments.of(origin.position.0);
                let key = (origin.app, origin.script, alike.clone(), segment);
                let before = groups.get(&key);
                let group = ErrorGroup {
                    script: origin.script,
                    alike,
                    failures: before.map_or(0, |before| before.failures) + 1,
                    first_at: before.map_or(recorded.at, |before| before.first_at),
                    last_at: recorded.at,
                    last_position: recorded.position,
                    invocation: failed.invocation,
                    version: origin.version,
                    reason: failed.reason,
                    message: failed.message.clone(),
                    line: failed.line,
                };
                groups.insert(key, group);
            }
            write(connection, schema, &groups).await?;
            forget_counted(connection, schema, &["error_group"], events).await?;
            Ok(())
        }
        .boxed()
    }
}

/// Whose, of which script, what they have in common, and in which segment of the log their runs began.
type Key = (AppId, ScriptId, String, i64);

async fn write(
    connection: &mut PgConnection,
    schema: Schema,
    groups: &HashMap<Key, ErrorGroup>,
) -> Result<(), sqlx::Error> {
    if groups.is_empty() {
        return Ok(());
    }
    sqlx::query(schema.sql(
        "insert into views.error_group as g (app_id, script, alike, failures, first_at, last_position, last_at, invocation,
            version, reason, message, line, segment)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::timestamptz[], $6::bigint[],
            $7::timestamptz[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::integer[], $13::bigint[])
        on conflict (app_id, script, alike, segment) do update set
            failures = g.failures + excluded.failures,
            last_position = excluded.last_position,
            last_at = excluded.last_at,
            invocation = excluded.invocation,
            version = excluded.version,
            reason = excluded.reason,
            message = excluded.message,
            line = excluded.line",
    ))
    .bind(groups.keys().map(|(app, ..)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(groups.values().map(|group| group.script.uuid()).collect::<Vec<_>>())
    .bind(groups.values().map(|group| &*group.alike).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.failures as i64).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.first_at).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.last_position.0).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.last_at).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.invocation.uuid()).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.version.uuid()).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.reason.as_str()).collect::<Vec<_>>())
    .bind(groups.values().map(|group| &*group.message).collect::<Vec<_>>())
    .bind(groups.values().map(|group| group.line.map(|line| line as i32)).collect::<Vec<_>>())
    .bind(groups.keys().map(|(.., segment)| *segment).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The groups of an app whose last failure lies before a place in the log, latest first, at most `limit` of them.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    app: AppId,
    script: Option<ScriptId>,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<ErrorGroup>, sqlx::Error> {
    let rows = sqlx::query!(
        // A row for each segment of the log: the newest says what the last one was.
        r#"select g.script, g.alike, g.last_at, g.last_position, g.invocation, g.version, g.reason, g.message, g.line,
            of_all.failures as "failures!", of_all.first_at as "first_at!"
        from views.error_group g
        cross join lateral (
            select sum(a.failures)::bigint as failures, min(a.first_at) as first_at, max(a.last_position) as last_position
            from views.error_group a where a.app_id = g.app_id and a.script = g.script and a.alike = g.alike
        ) of_all
        where g.app_id = $1 and ($2::uuid is null or g.script = $2) and ($3::bigint is null or g.last_position < $3)
            and g.last_position = of_all.last_position
        order by g.last_position desc
        limit $4"#,
        app.uuid(),
        script.map(ScriptId::uuid),
        before.map(|before| before.0),
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ErrorGroup {
                script: row.script.into(),
                alike: row.alike,
                failures: u64::try_from(row.failures).unwrap_or(0),
                first_at: row.first_at,
                last_at: row.last_at,
                last_position: Position(row.last_position),
                invocation: row.invocation.into(),
                version: row.version.into(),
                reason: word(&row.reason)?,
                message: row.message,
                line: row.line.map(|line| line as u32),
            })
        })
        .collect()
}
