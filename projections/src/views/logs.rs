//! The view `logs`: which events say something, by app, script and loudness. What they say is read from the log.

use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::{
        Class, Event,
        invocation::{Failed, Logged},
        partition::Archived,
    },
    id::{AppId, InvocationId, ScriptId, VersionId},
    log::{Position, Recorded, read::Reader},
    run::LogLevel,
};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::{
    Page, Schema,
    archived::{archived_runs, drop_partition},
    origins::{Origin, Origins, run_of},
    schema::Segments,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "logs";

/// Follows the log.
#[derive(Debug)]
pub(super) struct Logs {
    origins: Origins,
    segments: Segments,
}

/// That something was said.
struct Said {
    position: Position,
    origin: Origin,
    run: InvocationId,
    level: LogLevel,
}

impl Logs {
    pub(super) fn new(reader: Reader) -> Self {
        Self { origins: Origins::new(reader), segments: Segments::default() }
    }

    fn said(&mut self, recorded: &Recorded) -> Option<Said> {
        let origin = self.origins.meet(recorded)?;
        let event = &recorded.event.event;
        Some(Said { position: recorded.position, origin, run: run_of(event)?, level: loudest(event)? })
    }
}

/// How loud an event is at its loudest; none, when it says nothing.
fn loudest(event: &Event) -> Option<LogLevel> {
    match event {
        Event::InvocationLogged(Logged { lines, dropped, .. }) => {
            // That lines were cut is worth a warning.
            let cut = (*dropped > 0).then_some(LogLevel::Warn);
            lines.iter().map(|line| line.level).chain(cut).max()
        }
        Event::InvocationFailed(Failed { .. }) => Some(LogLevel::Error),
        _ => None,
    }
}

const fn number(level: LogLevel) -> i16 {
    match level {
        LogLevel::Trace => 0,
        LogLevel::Debug => 1,
        LogLevel::Info => 2,
        LogLevel::Warn => 3,
        LogLevel::Error => 4,
    }
}

impl View for Logs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> &'static [&'static str] {
        &["log_entry"]
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
            self.origins.look_up(events).await?;
            let entries: Vec<Said> = events.iter().filter_map(|recorded| self.said(recorded)).collect();
            if let Some(last) = entries.last() {
                self.segments.reach(connection, schema, &["log_entry"], last.position.0).await?;
                write(connection, schema, &entries, &self.segments).await?;
            }
            for gone in archived_runs(events) {
                forget(connection, schema, gone).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

async fn write(
    connection: &mut PgConnection,
    schema: Schema,
    entries: &[Said],
    segments: &Segments,
) -> Result<(), sqlx::Error> {
    let is_later = |said: &Said| segments.of(said.origin.position.0) != segments.of(said.position.0);
    let began = |said: &Said| is_later(said).then_some(said.origin.position.0);
    sqlx::query(schema.sql(
        "insert into views.log_entry (position, app_id, script, version, invocation, level, began)
        select * from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::smallint[], $7::bigint[])",
    ))
    .bind(entries.iter().map(|said| said.position.0).collect::<Vec<_>>())
    .bind(entries.iter().map(|said| said.origin.app.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|said| said.origin.script.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|said| said.origin.version.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|said| said.run.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|said| number(said.level)).collect::<Vec<_>>())
    .bind(entries.iter().map(began).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// What was said in a segment that is gone, and later by runs that began in it.
async fn forget(connection: &mut PgConnection, schema: Schema, gone: &Archived) -> Result<(), sqlx::Error> {
    drop_partition(connection, schema, "log_entry", gone).await?;
    sqlx::query(schema.sql("delete from views.log_entry where began < $1")).bind(gone.high).execute(connection).await?;
    Ok(())
}

/// Which lines are wanted. Everything named must hold.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Whose.
    pub app: AppId,
    /// Of runs of this script.
    pub script: Option<ScriptId>,
    /// Of this run.
    pub invocation: Option<InvocationId>,
    /// This loud, or louder.
    pub level: LogLevel,
}

/// An event that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub position: Position,
    /// Of a run of what,
    pub script: ScriptId,
    /// and of which version of it.
    pub version: VersionId,
}

/// The events of a part of a list.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool, filter: &Filter, page: Page) -> Result<Vec<Entry>, sqlx::Error> {
    let mut query =
        QueryBuilder::<Postgres>::new("select position, script, version from views.log_entry where app_id = ");
    query.push_bind(filter.app.uuid());
    if let Some(script) = filter.script {
        query.push(" and script = ").push_bind(script.uuid());
    }
    if let Some(invocation) = filter.invocation {
        query.push(" and invocation = ").push_bind(invocation.uuid());
    }
    match filter.level {
        LogLevel::Trace => {}
        // Spelt out: the index of what is loud is not found by a parameter.
        LogLevel::Warn => _ = query.push(" and level >= 3"),
        LogLevel::Error => _ = query.push(" and level >= 3 and level >= 4"),
        LogLevel::Debug | LogLevel::Info => _ = query.push(" and level >= ").push_bind(number(filter.level)),
    }
    page.between(&mut query);
    query.push(format!(" order by position {} limit ", page.order())).push_bind(page.limit as i64);
    // Not kept: for a script that hardly ever says anything, a plan for any script walks past all that was said.
    let rows = query.build().persistent(false).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                position: Position(row.try_get("position")?),
                script: row.try_get::<Uuid, _>("script")?.into(),
                version: row.try_get::<Uuid, _>("version")?.into(),
            })
        })
        .collect()
}
