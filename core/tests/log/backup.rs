//! A whole instance, out of one database and into another.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use picloud_core::{
    backup::{Manifest, Reader},
    event::{env, outbox::Enqueued},
    id::{AppId, InvocationId},
    keys::{Keyring, MasterKey},
    log::{
        Position,
        backup::{LIVE_KEPT, LIVE_LEFT_OUT, Restore, RestoreError, Restored, take},
        node::abandon_orphans,
        outbox, schema,
        verify::Wrong,
    },
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    outbox::{ids, owed, turn},
    seals::Sealing,
};
use crate::support::{TestNode, created, event, increase, set, soon, started};

/// A folder with a master key.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn master(&self) -> MasterKey {
        MasterKey::load_or_make(&self.0.path().join("master.key")).unwrap()
    }

    async fn keyring(&self, pool: &PgPool) -> Keyring {
        Keyring::open(self.master(), pool.clone()).await.unwrap()
    }
}

/// A database beside the test's, empty at first; gone with [`Other::drop`].
struct Other {
    pool: PgPool,
    of: PgPool,
    name: String,
}

impl Other {
    async fn new(of: &PgPool) -> Self {
        let name = format!("restored_{}", AppId::generate().uuid().simple());
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(of).await.unwrap();
        let options = of.connect_options().as_ref().clone().database(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
        Self { pool, of: of.clone(), name }
    }

    async fn drop(self) {
        self.pool.close().await;
        let sql = format!("drop database {} with (force)", self.name);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.of).await.unwrap();
    }
}

/// The file of a backup.
async fn backup(pool: &PgPool, keys: &Keys) -> Vec<u8> {
    let keyring = keys.keyring(pool).await;
    let (out, mut pieces) = mpsc::channel::<Bytes>(2);
    let mut connection = pool.acquire().await.unwrap();
    let (taken, file) = tokio::join!(
        async {
            let taken = take(&mut connection, &keyring, "1.2.3", &out, |_| {}).await;
            drop(out);
            taken
        },
        async {
            let mut file = Vec::new();
            while let Some(piece) = pieces.recv().await {
                file.extend_from_slice(&piece);
            }
            file
        }
    );
    let (_, bytes) = taken.unwrap();
    assert_eq!(bytes, file.len() as u64);
    file
}

async fn restore_as(pool: &PgPool, keys: &Keys, file: &[u8], accepts_changed: bool) -> Result<Restored, RestoreError> {
    let (mut reader, manifest) = Reader::open(file)?;
    let master = keys.master();
    let mut connection = pool.acquire().await.unwrap().detach();
    let restore = Restore { manifest: &manifest, reader: &mut reader, master: &master, accepts_changed };
    let restored = restore.run(&mut connection, |_| {}).await;
    connection.close().await.unwrap();
    restored
}

async fn restore(pool: &PgPool, keys: &Keys, file: &[u8]) -> Result<Restored, RestoreError> {
    restore_as(pool, keys, file, false).await
}

fn manifest(file: &[u8]) -> Manifest {
    Reader::open(file).unwrap().1
}

/// All rows of the tables that are in backups, as text.
async fn rows(pool: &PgPool, manifest: &Manifest) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in &manifest.tables {
        let sql = format!("select t::text from {} t order by 1", table.name);
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        all.insert(table.name.clone(), rows);
    }
    all
}

/// Whether there is nothing of PiCloud in it.
async fn is_untouched(pool: &PgPool) -> bool {
    let sql = "select not exists (select from pg_namespace where nspname in ('log', 'state', 'live', 'views'))
        and to_regclass('_sqlx_migrations') is null";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// What is hard to write down, and a bit of all there is.
async fn fill(node: &TestNode, app: AppId) {
    let odd = serde_json::json!("line\nbreak, tab\t, \\N and \\. and é 🥧 \u{1}").to_string();
    node.commit(vec![
        created(app, "shop"),
        event(app, env::Set { name: "currency".to_owned(), value: "EUR\t\\N".to_owned() }),
    ])
    .await
    .unwrap();
    node.commit(vec![set(app, "odd", &odd), set(app, "n", "1"), increase(app, "n", 41)]).await.unwrap();
    node.commit(vec![started(app, InvocationId::generate(), node.epoch())]).await.unwrap();
    let [now, first, second, later] = ids();
    let lane = |item| Enqueued { lane: Some("a lane".to_owned()), ..owed(item) };
    let items = [
        owed(now),
        lane(first),
        lane(second),
        Enqueued { due_at: Some(Utc::now() + TimeDelta::hours(1)), ..owed(later) },
    ];
    node.commit(items.into_iter().map(|item| event(app, item)).collect()).await.unwrap();
    for sql in [
        "insert into live.idempotency (scope, app_id, fingerprint, claim, claimed_by, outcome, expires_at) values
            ('\\x00ff5c', gen_random_uuid(), '\\x01', gen_random_uuid(), gen_random_uuid(), '\\x5c4e0a', now()),
            ('\\x02', gen_random_uuid(), '\\x01', gen_random_uuid(), gen_random_uuid(), null, now())",
        "insert into live.session (id, account_id, hash, expires_at) values (gen_random_uuid(), gen_random_uuid(), '', now())",
        "insert into live.totp_step (account_id, step) values (gen_random_uuid(), 7)",
    ] {
        sqlx::query(sql).execute(&node.pool).await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_backed_up_is_restored_row_for_row_and_nothing_runs_before_somebody_says_so(database: PgPool) {
    let (keys, app) = (Keys::new(), AppId::generate());
    let sealing = Sealing::with(&database, keys.keyring(&database).await.seal_key()).await;
    fill(&sealing.node, app).await;
    // A second segment with something in it, and one of which a class is gone.
    sqlx::raw_sql("drop table log.data_2000001; update log.segments set classes = '{config,run}' where low = 2000001")
        .execute(&database)
        .await
        .unwrap();
    sealing.sealed().await;
    let epoch = sealing.node.epoch();
    sealing.stop().await;
    let file = backup(&database, &keys).await;
    let said = manifest(&file);
    assert_eq!(said.master_key.fingerprint, keys.master().fingerprint());
    assert_eq!(said.schema, schema::version());

    let other = Other::new(&database).await;
    let restored = restore(&other.pool, &keys, &file).await.unwrap();
    assert_ne!(restored.history, said.history, "a new life");
    assert_eq!(restored.history, schema::history(&other.pool).await.unwrap());
    assert_eq!((restored.head, restored.owed), (said.head.plus(2), 4));
    assert!(restored.verified.findings.is_empty() && restored.verified.events > 0, "{:?}", restored.verified);
    let written: BTreeMap<String, u64> = restored.tables.into_iter().collect();
    assert_eq!(written, said.tables.iter().map(|table| (table.name.clone(), table.rows)).collect());

    let (mut before, mut after) = (rows(&database, &said).await, rows(&other.pool, &said).await);
    // What began with the restore, and nothing else.
    let began = |row: &String| row.contains("backup.restored") || row.contains("outbox.paused");
    let config = after.get_mut("log.config_1").unwrap();
    assert_eq!(config.iter().filter(|row| began(row)).count(), 2, "{config:?}");
    config.retain(|row| !began(row));
    let pause = after.insert("state.outbox_pause".to_owned(), Vec::new()).unwrap();
    assert!(pause[0].contains("restored from the backup of"), "{pause:?}");
    // What was under way in the life before is free.
    before.get_mut("live.idempotency").unwrap().retain(|row| row.contains("5c4e0a"));
    assert_eq!(before, after);
    assert!(after["state.kv"].iter().any(|row| row.contains("🥧")), "{:?}", after["state.kv"]);

    // Who lived then does not; what is owed can be run, in its order, once somebody may.
    let living = "select count(*) from live.nodes where revoked_at is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(living).fetch_one(&other.pool).await.unwrap(), 0);
    let sessions = "select count(*) from live.session";
    assert_eq!(sqlx::query_scalar::<_, i64>(sessions).fetch_one(&other.pool).await.unwrap(), 0);
    let node = TestNode::start(&other.pool).await;
    assert_ne!(node.epoch(), epoch);
    assert_eq!(soon(abandon_orphans(&node.pool, &node.committer, &node.node)).await.unwrap(), 1);
    let claimed = outbox::claim(&node.pool, node.epoch(), &[turn(app, i64::MIN)], 10).await.unwrap();
    assert_eq!(claimed.len(), 2, "one now, and the first of the lane: {claimed:?}");
    assert!(outbox::promote(&node.pool).await.unwrap().next_in_s.is_some(), "one is due later");
    // The log goes on where it stopped.
    let first = node.commit(vec![set(app, "n", "43")]).await.unwrap().first;
    assert_eq!(first, restored.head.plus(2), "after the end of the run that was left behind");
    node.stop().await;
    other.drop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_restored_whole_leaves_the_database_as_it_was(database: PgPool) {
    let (keys, app) = (Keys::new(), AppId::generate());
    let node = TestNode::start(&database).await;
    fill(&node, app).await;
    node.stop().await;
    let file = backup(&database, &keys).await;
    let other = Other::new(&database).await;

    // Cut off and damaged, at places all over it.
    for n in 1..12 {
        let at = file.len() * n / 12;
        let cut = restore(&other.pool, &keys, &file[..at]).await.expect_err("cut off");
        assert!(matches!(cut, RestoreError::File(_)), "{cut}");
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        let damaged = restore(&other.pool, &keys, &damaged).await.expect_err("damaged");
        assert!(matches!(damaged, RestoreError::File(_)), "{damaged}");
        assert!(is_untouched(&other.pool).await, "after {at} bytes");
    }
    let stranger = Keys::new();
    let other_key = restore(&other.pool, &stranger, &file).await.expect_err("another master key").to_string();
    for fingerprint in [keys.master().fingerprint(), stranger.master().fingerprint()] {
        assert!(other_key.contains(fingerprint), "{other_key}");
    }
    // A schema of that name that is somebody else's stays.
    sqlx::raw_sql("create schema views").execute(&other.pool).await.unwrap();
    let theirs = restore(&other.pool, &keys, &file).await.expect_err("not ours").to_string();
    assert!(theirs.contains("schemas that are not PiCloud's: `views`"), "{theirs}");
    sqlx::raw_sql("drop schema views").execute(&other.pool).await.unwrap();
    assert!(is_untouched(&other.pool).await);

    restore(&other.pool, &keys, &file).await.unwrap();
    let again = restore(&other.pool, &keys, &file).await.expect_err("there is something").to_string();
    assert!(again.contains("and the apps `shop`") && again.contains("into an empty one only"), "{again}");
    other.drop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_log_that_was_changed_before_the_backup_is_restored_only_by_who_accepts_that(database: PgPool) {
    let (keys, app) = (Keys::new(), AppId::generate());
    let sealing = Sealing::with(&database, keys.keyring(&database).await.seal_key()).await;
    fill(&sealing.node, app).await;
    sealing.sealed().await;
    sealing.stop().await;
    let changed: i64 = sqlx::query_scalar(
        "update log.data_1 set data = '{}' where position = (select min(position) from log.data_1) returning position",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    let file = backup(&database, &keys).await;
    let other = Other::new(&database).await;
    match restore(&other.pool, &keys, &file).await {
        Err(RestoreError::Changed(verified)) => {
            assert_eq!(
                (verified.findings[0].position, &verified.findings[0].wrong),
                (Position(changed), &Wrong::Changed)
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(is_untouched(&other.pool).await);
    let restored = restore_as(&other.pool, &keys, &file, true).await.unwrap();
    assert_eq!(restored.verified.findings.len(), 1);
    other.drop().await;
}

#[sqlx::test(migrations = false)]
async fn a_backup_of_an_older_schema_is_brought_up_to_this_one(database: PgPool) {
    let older = sqlx::migrate!("../migrations").migrations.into_owned();
    let older = older.into_iter().filter(|migration| migration.version < 19).collect();
    sqlx::migrate::Migrator::with_migrations(older).run(&database).await.unwrap();
    let (keys, app) = (Keys::new(), AppId::generate());
    let node = TestNode::start(&database).await;
    fill(&node, app).await;
    node.stop().await;
    let file = backup(&database, &keys).await;
    let said = manifest(&file);
    assert!(said.schema < 19 && !said.tables.iter().any(|table| table.name == "state.outbox_pause"), "{said:?}");
    // Also where a start of the newest version has made an empty one.
    let other = Other::new(&database).await;
    schema::migrate(&other.pool).await.unwrap();
    restore(&other.pool, &keys, &file).await.unwrap();
    let newest: i64 =
        sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&other.pool).await.unwrap();
    assert_eq!(newest, schema::version());
    let paused = "select is_paused from state.outbox_pause";
    assert!(sqlx::query_scalar::<_, bool>(paused).fetch_one(&other.pool).await.unwrap());
    other.drop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_backup_is_of_one_moment_while_others_append(database: PgPool) {
    let (keys, app) = (Keys::new(), AppId::generate());
    let node = TestNode::start(&database).await;
    fill(&node, app).await;
    let writing = async {
        for n in 0..200 {
            node.commit(vec![set(app, &format!("key-{n}"), "1"), increase(app, "total", 1)]).await.unwrap();
        }
    };
    let (file, ()) = tokio::join!(backup(&database, &keys), writing);
    let other = Other::new(&database).await;
    restore(&other.pool, &keys, &file).await.unwrap();
    // Everything up to its head, and nothing behind it, in the log as in state.
    let head = manifest(&file).head;
    let events = "select count(*), count(*) filter (where position > $1) from log.events where kind not in ('backup.restored', 'outbox.paused')";
    let counted: (i64, i64) = sqlx::query_as(events).bind(head.0).fetch_one(&other.pool).await.unwrap();
    assert_eq!(counted, (head.0, 0));
    let state = "select (select count(*) from state.kv where key like 'key-%'),
        coalesce((select value::text::bigint from state.kv where key = 'total'), 0),
        (select count(*) from log.events where kind = 'kv.set' and subject like 'kv:%/key-%')";
    let (keys_there, total, said): (i64, i64, i64) = sqlx::query_as(state).fetch_one(&other.pool).await.unwrap();
    assert_eq!((keys_there, total), (said, said));
    node.stop().await;
    other.drop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn every_table_of_live_is_in_backups_or_left_out_on_purpose(database: PgPool) {
    let mut connection: PgConnection = database.acquire().await.unwrap().detach();
    let mut there: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'live' and c.relkind in ('r', 'p')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    there.sort();
    let mut known: Vec<String> =
        LIVE_KEPT.iter().map(|(name, _)| *name).chain(LIVE_LEFT_OUT).map(str::to_owned).collect();
    known.sort();
    assert_eq!(there, known, "whether a new table of `live` is restored is decided in core/src/log/backup/tables.rs");
}
