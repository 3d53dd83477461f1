//! Writes a whole instance into an empty database, in one transaction.

use std::io::Read;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    found::{self, found},
    prepare,
    tables::{self, Source},
};
use crate::{
    backup::{FileError, Manifest, Part, Reader, Segment},
    event::{Actor, Class, backup, outbox::Paused},
    id::{EventId, HistoryId, NodeEpoch},
    keys::MasterKey,
    log::{
        Authority, Commit, NewEvent, Position,
        batch::{self, Arrays, Verdict, Writer},
        config, outbox,
        schema::{self, SchemaError},
        verify::{self, Verified, VerifyError, Wanted, verify},
    },
};

/// Of a transaction that writes everything once.
const WRITING: [(&str, &str); 2] = [("lock_timeout", "10s"), ("maintenance_work_mem", "256MB")];

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows are written.
    Rows {
        /// So many are,
        rows: u64,
        /// of so many.
        of: u64,
    },
    /// The seals of the log are proved.
    Proving(verify::Progress),
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The life of the log that has begun.
    pub history: HistoryId,
    /// The last event: that the outbox is paused.
    pub head: Position,
    /// What the proof of the log found out.
    pub verified: Verified,
    /// How many rows were written, by table: as many as the backup says.
    pub tables: Vec<(String, u64)>,
    /// Items of the outbox that wait for it to be resumed.
    pub owed: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database would not.
    #[error("failed to write to the database")]
    Database(#[from] sqlx::Error),
    /// The file is not as it was written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is something already.
    #[error("there is an instance here already, with {found}: a backup is restored into an empty one only")]
    NotEmpty {
        /// What.
        found: String,
    },
    /// Of a version that came later.
    #[error(
        "the backup is of schema version {found} (PiCloud {product}), and this PiCloud knows up to {known}: use that version or a newer one"
    )]
    Newer {
        /// The backup's version.
        found: i64,
        /// The highest that this binary knows.
        known: i64,
        /// Who wrote it.
        product: String,
    },
    /// Its secrets are under another key.
    #[error(
        "the backup needs the master key with the fingerprint {needed}, and the one here has {found}: put that key in its place"
    )]
    OtherMasterKey {
        /// The fingerprint of the backup's.
        needed: String,
        /// The fingerprint of this instance's.
        found: String,
    },
    /// The schema could not be made.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// What it says of itself is not of its version.
    #[error("the backup says that it is of schema version {schema}, and that has no table like its `{table}`")]
    Unfit {
        /// The version that it says it is of.
        schema: i64,
        /// Which table.
        table: String,
    },
    /// A table has not as many rows as the backup says.
    #[error("`{table}` should have {said} rows, and the backup has {written} of them")]
    Miscounted {
        /// Which.
        table: String,
        /// So many it says there are.
        said: u64,
        /// So many there are.
        written: u64,
    },
    /// The proof could not be made.
    #[error("failed to prove the restored log")]
    Verify(#[from] VerifyError),
    /// The log was changed before the backup was taken.
    #[error(
        "the log in the backup is not as it was sealed, from position {} on ({} findings): somebody changed it before the backup \
         was taken",
        .0.findings.first().map_or(Position::ZERO, |first| first.position),
        .0.findings.len()
    )]
    Changed(Box<Verified>),
    /// The first events of the new history were refused.
    #[error("the database refused the first events after the restore: {0}")]
    NotBegun(&'static str),
}

/// A backup that is to be restored.
#[derive(Debug)]
pub struct Restore<'a, R> {
    /// What it says of itself.
    pub manifest: &'a Manifest,
    /// The rest of it.
    pub reader: &'a mut Reader<R>,
    /// What its secrets are under.
    pub master: &'a MasterKey,
    /// Whether a log is taken that was changed before the backup was made.
    pub accepts_changed: bool,
}

/// Looks, without a database, whether this version and this key can restore it.
///
/// # Errors
/// [`RestoreError::Newer`] and [`RestoreError::OtherMasterKey`].
pub fn can_restore(manifest: &Manifest, master: &MasterKey) -> Result<(), RestoreError> {
    if manifest.schema > schema::version() {
        return Err(RestoreError::Newer {
            found: manifest.schema,
            known: schema::version(),
            product: manifest.product.clone(),
        });
    }
    let needed = &manifest.master_key;
    needed.opened_by(master).map(drop).map_err(|_| RestoreError::OtherMasterKey {
        needed: needed.fingerprint.clone(),
        found: master.fingerprint().to_owned(),
    })
}

impl<R: Read> Restore<'_, R> {
    /// Writes all of it, proves it, begins a new history and pauses the outbox: in one transaction.
    ///
    /// # Errors
    /// [`RestoreError`]: then the database is as it was.
    pub async fn run(
        self,
        connection: &mut PgConnection,
        mut told: impl FnMut(Step),
    ) -> Result<Restored, RestoreError> {
        can_restore(self.manifest, self.master)?;
        let mut transaction = connection.begin().await?;
        match self.write(&mut transaction, &mut told).await {
            Ok(restored) => {
                transaction.commit().await?;
                Ok(restored)
            }
            Err(error) => {
                // What went wrong says more than a connection that was lost with it.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn write(self, connection: &mut PgConnection, told: &mut impl FnMut(Step)) -> Result<Restored, RestoreError> {
        prepare(connection).await?;
        for (name, value) in WRITING {
            sqlx::query("select set_config($1, $2, true)").bind(name).bind(value).execute(&mut *connection).await?;
        }
        make_room(connection, self.manifest.schema).await?;
        let (manifest, reader) = (self.manifest, self.reader);
        cut(connection, &manifest.segments).await?;
        let sources = tables::sources(connection, &manifest.segments).await?;
        fits(manifest, &sources)?;
        let tables = fill(connection, manifest, &sources, reader, told).await?;
        attach(connection, &manifest.segments).await?;
        schema::migrate_to(connection, schema::version()).await?;

        let history = HistoryId::generate();
        let owed = settle(connection, manifest, history).await?;
        for (name, rows) in &tables {
            // Of empty tables nothing is to be learnt: they do not stay empty.
            if *rows > 0 {
                sqlx::raw_sql(AssertSqlSafe(format!("analyze {name}"))).execute(&mut *connection).await?;
            }
        }
        let key = manifest.master_key.opened_by(self.master).map_err(|_| RestoreError::OtherMasterKey {
            needed: manifest.master_key.fingerprint.clone(),
            found: self.master.fingerprint().to_owned(),
        })?;
        let wanted = Wanted { trusted: vec![key.public()], ..Wanted::default() };
        let verified = verify(connection, &wanted, |progress| told(Step::Proving(progress))).await?;
        if !verified.findings.is_empty() && !self.accepts_changed {
            return Err(RestoreError::Changed(Box::new(verified)));
        }
        let head = begin(connection, manifest, history).await?;
        Ok(Restored { history, head, verified, tables, owed })
    }
}

/// An empty schema of a version, whatever empty one there was.
async fn make_room(connection: &mut PgConnection, version: i64) -> Result<(), RestoreError> {
    if let Some(found) = found(connection).await? {
        return Err(RestoreError::NotEmpty { found });
    }
    if found::is_ours(connection).await? {
        let dropped = "drop schema log, state, live, views cascade; drop table _sqlx_migrations";
        sqlx::raw_sql(dropped).execute(&mut *connection).await?;
    }
    schema::migrate_to(connection, version).await?;
    Ok(())
}

/// Cuts the log as it was, into tables that stand alone for now.
async fn cut(connection: &mut PgConnection, segments: &[Segment]) -> Result<(), sqlx::Error> {
    for Segment { low, classes, .. } in tables::segments(connection).await? {
        for class in classes {
            sqlx::raw_sql(AssertSqlSafe(format!("drop table log.{class}_{low}"))).execute(&mut *connection).await?;
        }
    }
    sqlx::query!("delete from log.segments").execute(&mut *connection).await?;
    for segment in segments {
        sqlx::query!(
            "insert into log.segments (low, high, classes) values ($1, $2, $3)",
            segment.low,
            segment.high,
            &segment.classes
        )
        .execute(&mut *connection)
        .await?;
        for class in classes(segment) {
            let made = format!("create table {} (like log.events including all)", tables::leaf(class, segment.low));
            sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn classes(segment: &Segment) -> impl Iterator<Item = Class> + '_ {
    Class::ALL.into_iter().filter(|class| segment.classes.iter().any(|there| there == class.as_str()))
}

/// Makes them the log: indexes are quicker made when the rows are there. As `log.add_segment` does.
async fn attach(connection: &mut PgConnection, segments: &[Segment]) -> Result<(), sqlx::Error> {
    for segment in segments {
        let Segment { low, high, .. } = segment;
        for class in classes(segment) {
            let (leaf, name) = (tables::leaf(class, *low), format!("{class}_{low}"));
            let sql = format!(
                "alter table {leaf} add constraint {name}_pkey primary key (position);
                alter table {leaf} add constraint {name}_bounds
                    check (class = '{class}' and position >= {low} and position < {high});
                alter table log.{class} attach partition {leaf} for values from ({low}) to ({high});
                alter table {leaf} drop constraint {name}_bounds;
                do $$ begin
                    -- There since schema version 18; an older backup's leaves get it by that migration.
                    if '{class}' <> 'config' and to_regproc('log.make_lookup') is not null then
                        perform log.make_lookup('{name}');
                    end if;
                end $$"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Names that go into statements are the database's own, and all of its tables are there.
fn fits(manifest: &Manifest, sources: &[Source]) -> Result<(), RestoreError> {
    let unfit = |table: &str| RestoreError::Unfit { schema: manifest.schema, table: table.to_owned() };
    for table in &manifest.tables {
        if !sources.iter().any(|source| source.is(table)) {
            return Err(unfit(&table.name));
        }
    }
    match sources.iter().find(|source| manifest.tables.iter().filter(|table| source.is(table)).count() != 1) {
        Some(source) => Err(unfit(&source.name)),
        None => Ok(()),
    }
}

async fn fill<R: Read>(
    connection: &mut PgConnection,
    manifest: &Manifest,
    sources: &[Source],
    reader: &mut Reader<R>,
    told: &mut impl FnMut(Step),
) -> Result<Vec<(String, u64)>, RestoreError> {
    let mut tables = Vec::with_capacity(sources.len());
    let (mut done, of) = (0, manifest.rows());
    let mut part = reader.next_part()?;
    while let Part::Table(number) = part {
        let table = &manifest.tables[number];
        let source = sources.iter().find(|source| source.is(table)).expect("all tables were looked at");
        let mut copy = connection.copy_in_raw(&source.copy_in(table.name.starts_with("log."))).await?;
        part = loop {
            match reader.next_part() {
                Ok(Part::Rows(piece)) => {
                    done += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                    copy.send(piece).await?;
                    told(Step::Rows { rows: done, of });
                }
                Ok(other) => break other,
                Err(error) => {
                    copy.abort("the backup is damaged").await?;
                    return Err(error.into());
                }
            }
        };
        let written = copy.finish().await?;
        if written != table.rows {
            return Err(RestoreError::Miscounted { table: table.name.clone(), said: table.rows, written });
        }
        tables.push((table.name.clone(), written));
    }
    Ok(tables)
}

/// Makes what was restored stand by itself; returns how much is owed.
async fn settle(connection: &mut PgConnection, manifest: &Manifest, history: HistoryId) -> Result<u64, sqlx::Error> {
    sqlx::query!("update log.meta set history = $1, floor = $2", history.uuid(), manifest.floor.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("update log.writer set triggers = $1", manifest.triggers.0).execute(&mut *connection).await?;
    // Whoever ran something at that moment does not any more: the first start ends these runs as abandoned.
    sqlx::query!(
        "insert into live.nodes (epoch, name, version, revoked_at)
        select distinct r.node, 'before the restore', $1, clock_timestamp() from state.running r",
        manifest.product
    )
    .execute(&mut *connection)
    .await?;
    outbox::recover(&mut *connection).await?;
    let owed = sqlx::query_scalar!(r#"select count(*) as "count!" from state.outbox"#).fetch_one(connection).await?;
    Ok(owed.unsigned_abs())
}

/// The first events of the new life: where it came from, and that nothing is sent before somebody says so. Nobody else can
/// append yet, so this does without a committer.
async fn begin(
    connection: &mut PgConnection,
    manifest: &Manifest,
    history: HistoryId,
) -> Result<Position, RestoreError> {
    let epoch = NodeEpoch::generate();
    sqlx::query!(
        "insert into live.nodes (epoch, name, version) values ($1, 'restore', $2)",
        epoch.uuid(),
        manifest.product
    )
    .execute(&mut *connection)
    .await?;
    let Manifest { taken_at, head, history: from, .. } = *manifest;
    let at = taken_at.format("%Y-%m-%d %H:%M:%S UTC");
    let events = vec![
        NewEvent::new(None, &Actor::SYSTEM, backup::Restored { taken_at, head, from, to: history }),
        NewEvent::new(None, &Actor::SYSTEM, Paused { reason: Some(format!("restored from the backup of {at}")) }),
    ];
    let commit = Commit::new(Authority { epoch, lease: None }, events);
    let token = Uuid::from_u128(EventId::generate().ulid().0);
    let writer = Writer { token, known: None, epoch, triggers: Some(manifest.triggers) };
    let Ok(arrays) = Arrays::build([&commit].into_iter()) else {
        return Err(RestoreError::NotBegun("they cannot be folded"));
    };
    let head = match batch::append(connection, &writer, false, &arrays).await? {
        Verdict::Committed { head, at } => {
            let before = Position(head.0 - commit.events.len() as i64);
            for (n, event) in commit.events.iter().enumerate() {
                config::fold(connection, event, before.plus(n + 1), at).await?;
            }
            head
        }
        Verdict::Unmatched => return Err(RestoreError::NotBegun("its triggers are others than it says")),
        Verdict::Behind { .. } | Verdict::Revoked | Verdict::Refused(_) | Verdict::Crowded => {
            return Err(RestoreError::NotBegun("somebody else wrote to it"));
        }
    };
    sqlx::query!("update live.nodes set revoked_at = clock_timestamp() where epoch = $1", epoch.uuid())
        .execute(connection)
        .await?;
    Ok(head)
}
