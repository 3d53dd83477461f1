//! Another master key under running nodes.

use std::{fs, path::Path};

use futures::future::join;
use picloud_core::{
    id::AppId,
    keys::{DataKey, Keyring, KeyringError, MasterKey, MasterKeyError, Purpose, Sealed},
};
use sqlx::{PgConnection, PgPool};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::master;
use crate::support::soon;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn node(dir: &Path, database: &PgPool) -> Keyring {
    Keyring::open(master(dir), database.clone()).await.unwrap()
}

fn seal(key: &DataKey) -> Sealed {
    key.seal(Purpose::Recording, b"run", b"text")
}

fn opens(key: &DataKey, sealed: &Sealed) -> bool {
    key.open(Purpose::Recording, b"run", sealed).as_deref() == Ok(b"text")
}

/// What two apps and the instance have sealed.
struct Texts {
    apps: [(AppId, Sealed); 2],
    instance: Sealed,
}

impl Texts {
    async fn written_by(keyring: &Keyring) -> Self {
        let (one, two) = (AppId::generate(), AppId::generate());
        let sealed = async |app| seal(&keyring.app(app).await.unwrap());
        Self { apps: [(one, sealed(one).await), (two, sealed(two).await)], instance: seal(keyring.instance()) }
    }

    async fn are_read_by(&self, keyring: &Keyring) {
        for (app, sealed) in &self.apps {
            assert!(opens(&keyring.app(*app).await.unwrap(), sealed));
        }
        assert!(opens(keyring.instance(), &self.instance));
    }
}

fn fingerprint(dir: &Path, name: &str) -> String {
    assert!(fs::exists(dir.join(name)).unwrap(), "there is no `{name}`");
    MasterKey::load_or_make(&dir.join(name)).unwrap().fingerprint().to_owned()
}

/// The row of the instance's key, held: a rotation has staged its key when it stands before it.
async fn hold_the_instances_row(connection: &mut PgConnection) {
    sqlx::query("select from live.secret_material where kind = 'data_key' and app_id is null for update")
        .execute(connection)
        .await
        .unwrap();
}

async fn hold_the_lock(connection: &mut PgConnection) {
    sqlx::query("select pg_advisory_xact_lock(7305804404)").execute(connection).await.unwrap();
}

/// Resolves once so many stand before a lock.
async fn waiting(database: &PgPool, many: i64) {
    let query = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where a.datname = current_database() and not l.granted";
    let wait = async {
        while sqlx::query_scalar::<_, i64>(query).fetch_one(database).await.unwrap() != many {
            tokio::task::yield_now().await;
        }
    };
    soon(wait).await;
}

async fn cut_short<T>(task: JoinHandle<T>) {
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotation_keeps_everything_readable_here_there_and_later(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let texts = Texts::written_by(&here).await;
    let before = here.master_fingerprint();

    let rotated = here.rotate().await.unwrap();
    assert_eq!(rotated.from, before);
    assert_ne!(rotated.from, rotated.to);
    assert_eq!(here.master_fingerprint(), rotated.to);
    assert_eq!(fingerprint(dir.path(), "master.key"), rotated.to);
    assert_eq!(fingerprint(dir.path(), "master.key.previous"), rotated.from);
    assert!(!fs::exists(dir.path().join("master.key.next")).unwrap());

    // The other node has not heard of it, and has none of the apps' keys: it reads the file when it meets the first.
    assert_eq!(there.master_fingerprint(), rotated.from);
    texts.are_read_by(&there).await;
    assert_eq!(there.master_fingerprint(), rotated.to);
    texts.are_read_by(&here).await;
    texts.are_read_by(&node(dir.path(), &database).await).await;

    // No row was left under the old one: with its file alone nothing opens.
    let old = folder();
    fs::copy(dir.path().join("master.key.previous"), old.path().join("master.key")).unwrap();
    assert!(Keyring::open(master(old.path()), database.clone()).await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_is_told_reads_the_file_again(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let rotated = here.rotate().await.unwrap();
    there.reload().await.unwrap();
    assert_eq!(there.master_fingerprint(), rotated.to);
    // An app's first key, made over there, is under the new one.
    let app = AppId::generate();
    let sealed = seal(&there.app(app).await.unwrap());
    assert!(opens(&node(dir.path(), &database).await.app(app).await.unwrap(), &sealed));
    assert_eq!(there.rotate().await.unwrap().from, rotated.to, "and it can rotate in its turn");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_key_made_by_a_node_that_has_not_heard_is_under_the_new_master_key(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    here.rotate().await.unwrap();
    let app = AppId::generate();
    let sealed = seal(&there.app(app).await.unwrap());
    assert!(opens(&node(dir.path(), &database).await.app(app).await.unwrap(), &sealed));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_with_the_old_file_is_refused_with_the_remedy_and_recovers_with_the_new_one(database: PgPool) {
    let (dir, machine) = (folder(), folder());
    let here = node(dir.path(), &database).await;
    let path = machine.path().join("master.key");
    fs::copy(dir.path().join("master.key"), &path).unwrap();
    let there = node(machine.path(), &database).await;
    let texts = Texts::written_by(&there).await;
    let late = AppId::generate();
    let sealed = seal(&here.app(late).await.unwrap());
    let rotated = here.rotate().await.unwrap();
    // What a rotation that was cut short may have left is not taken for the key that fits.
    let stray = MasterKey::load_or_make(&machine.path().join("master.key.next")).unwrap().fingerprint().to_owned();

    let refusals = [
        there.reload().await.unwrap_err(),
        there.app(late).await.unwrap_err(),
        there.app(AppId::generate()).await.unwrap_err(),
        there.rotate().await.unwrap_err(),
        Keyring::open(master(machine.path()), database.clone()).await.unwrap_err(),
    ];
    for refused in refusals {
        assert!(matches!(refused, KeyringError::WrongMasterKey { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains(&format!("copy the key file of that machine to {}", path.display())), "{text}");
        assert!(text.contains(&rotated.from), "{text}");
    }
    assert_eq!(fingerprint(machine.path(), "master.key"), rotated.from, "and nothing was moved");
    assert_eq!(fingerprint(machine.path(), "master.key.next"), stray, "or staged");
    texts.are_read_by(&there).await;

    fs::copy(dir.path().join("master.key"), &path).unwrap();
    assert!(opens(&there.app(late).await.unwrap(), &sealed));
    assert_eq!(there.master_fingerprint(), rotated.to);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotation_cut_short_before_its_commit_has_changed_nothing(database: PgPool) {
    let dir = folder();
    let keyring = node(dir.path(), &database).await;
    let texts = Texts::written_by(&keyring).await;
    let before = keyring.master_fingerprint();

    let mut holding = database.begin().await.unwrap();
    hold_the_instances_row(&mut holding).await;
    let rotating = tokio::spawn({
        let keyring = keyring.clone();
        async move { keyring.rotate().await }
    });
    waiting(&database, 1).await;
    let abandoned = fingerprint(dir.path(), "master.key.next");
    cut_short(rotating).await;
    holding.rollback().await.unwrap();

    let reopened = node(dir.path(), &database).await;
    assert_eq!(reopened.master_fingerprint(), before);
    texts.are_read_by(&reopened).await;
    let rotated = reopened.rotate().await.unwrap();
    assert_eq!(rotated.from, before);
    assert_ne!(rotated.to, abandoned, "a key that was staged and not used is not used later");
    texts.are_read_by(&node(dir.path(), &database).await).await;
}

/// Rotates, and stops between the commit and the move of the file.
async fn rotate_and_crash_after_the_commit(keyring: &Keyring, database: &PgPool) {
    let mut holding = database.begin().await.unwrap();
    hold_the_instances_row(&mut holding).await;
    let rotating = tokio::spawn({
        let keyring = keyring.clone();
        async move { keyring.rotate().await }
    });
    waiting(database, 1).await;
    // Who stands in line for the lock has it before the rotation comes for it a second time.
    let mut next_in_line = database.begin().await.unwrap();
    let commit = async {
        waiting(database, 2).await;
        holding.rollback().await.unwrap();
    };
    join(hold_the_lock(&mut next_in_line), commit).await;
    waiting(database, 1).await;
    cut_short(rotating).await;
    next_in_line.rollback().await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotation_cut_short_after_its_commit_is_brought_to_its_end_at_the_next_start(database: PgPool) {
    let dir = folder();
    let keyring = node(dir.path(), &database).await;
    let texts = Texts::written_by(&keyring).await;
    let before = keyring.master_fingerprint();
    rotate_and_crash_after_the_commit(&keyring, &database).await;
    assert_eq!(fingerprint(dir.path(), "master.key"), before);
    let next = fingerprint(dir.path(), "master.key.next");

    let reopened = node(dir.path(), &database).await;
    assert_eq!(reopened.master_fingerprint(), next);
    assert_eq!(fingerprint(dir.path(), "master.key"), next);
    assert_eq!(fingerprint(dir.path(), "master.key.previous"), before);
    assert!(!fs::exists(dir.path().join("master.key.next")).unwrap());
    texts.are_read_by(&reopened).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotation_cut_short_after_its_commit_is_not_overwritten_by_the_next(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let texts = Texts::written_by(&here).await;
    rotate_and_crash_after_the_commit(&here, &database).await;
    let next = fingerprint(dir.path(), "master.key.next");
    // Both still believe in the key before.
    let rotated = there.rotate().await.unwrap();
    assert_eq!(rotated.from, next);
    assert_eq!(here.rotate().await.unwrap().from, rotated.to);
    texts.are_read_by(&here).await;
    texts.are_read_by(&node(dir.path(), &database).await).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn two_rotations_at_once_follow_one_another(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let texts = Texts::written_by(&here).await;
    let mut at = here.master_fingerprint();
    for _ in 0..5 {
        let (one, two) = join(here.rotate(), there.rotate()).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        let (first, second) = if one.from == at { (one, two) } else { (two, one) };
        assert_eq!((&first.from, &first.to), (&at, &second.from));
        assert_eq!(fingerprint(dir.path(), "master.key"), second.to);
        assert_eq!(fingerprint(dir.path(), "master.key.previous"), second.from);
        texts.are_read_by(&node(dir.path(), &database).await).await;
        at = second.to;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_machines_that_rotate_at_once_one_is_refused(database: PgPool) {
    let (dir, machine) = (folder(), folder());
    let here = node(dir.path(), &database).await;
    fs::copy(dir.path().join("master.key"), machine.path().join("master.key")).unwrap();
    let there = node(machine.path(), &database).await;
    let texts = Texts::written_by(&here).await;
    let (winner, refused) = match join(here.rotate(), there.rotate()).await {
        (Ok(_), Err(refused)) => (dir.path(), refused),
        (Err(refused), Ok(_)) => (machine.path(), refused),
        both => panic!("one and only one: {both:?}"),
    };
    assert!(matches!(refused, KeyringError::WrongMasterKey { .. }), "{refused:?}");
    texts.are_read_by(&node(winner, &database).await).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_that_is_wanted_while_all_are_wrapped_anew_is_made_after(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let app = AppId::generate();

    let mut holding = database.begin().await.unwrap();
    hold_the_instances_row(&mut holding).await;
    let rotating = tokio::spawn(async move { here.rotate().await });
    waiting(&database, 1).await;
    let making = tokio::spawn(async move { there.app(app).await });
    waiting(&database, 2).await;
    holding.rollback().await.unwrap();

    soon(rotating).await.unwrap().unwrap();
    let sealed = seal(&soon(making).await.unwrap().unwrap());
    assert!(opens(&node(dir.path(), &database).await.app(app).await.unwrap(), &sealed));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotation_waits_for_a_key_that_is_being_made_and_takes_it_along(database: PgPool) {
    let dir = folder();
    let (here, there) = (node(dir.path(), &database).await, node(dir.path(), &database).await);
    let app = AppId::generate();

    // A row for the same app that is never committed holds the making of the real one up.
    let mut holding = database.begin().await.unwrap();
    sqlx::query("insert into live.secret_material (id, kind, app_id, material) values ($1, 'data_key', $2, '')")
        .bind(uuid::Uuid::from_u128(1))
        .bind(uuid::Uuid::from(app))
        .execute(&mut *holding)
        .await
        .unwrap();
    let making = tokio::spawn(async move { there.app(app).await });
    waiting(&database, 1).await;
    let rotating = tokio::spawn(async move { here.rotate().await });
    waiting(&database, 2).await;
    holding.rollback().await.unwrap();

    let sealed = seal(&soon(making).await.unwrap().unwrap());
    soon(rotating).await.unwrap().unwrap();
    assert!(opens(&node(dir.path(), &database).await.app(app).await.unwrap(), &sealed));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_row_that_no_master_key_opens_stops_a_rotation_and_is_named(database: PgPool) {
    let dir = folder();
    let keyring = node(dir.path(), &database).await;
    let (app, damaged) = (AppId::generate(), AppId::generate());
    let sealed = seal(&keyring.app(app).await.unwrap());
    let id = keyring.app(damaged).await.unwrap().id();
    sqlx::query("update live.secret_material set material = 'noise' where app_id = $1")
        .bind(uuid::Uuid::from(damaged))
        .execute(&database)
        .await
        .unwrap();
    let before = keyring.master_fingerprint();
    let refused = keyring.rotate().await.unwrap_err();
    assert!(refused.to_string().contains(&id.to_string()), "{refused}");
    let reopened = node(dir.path(), &database).await;
    assert_eq!(reopened.master_fingerprint(), before);
    assert!(opens(&reopened.app(app).await.unwrap(), &sealed), "the others are where they were");
    assert!(soon(reopened.app(damaged)).await.unwrap_err().to_string().contains(&id.to_string()));
}

#[sqlx::test(migrations = "../migrations")]
async fn no_key_shows_in_what_a_rotation_leaves_to_read(database: PgPool) {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    let (dir, machine) = (folder(), folder());
    let path = machine.path().join("master.key");
    let keyring = node(dir.path(), &database).await;
    fs::copy(dir.path().join("master.key"), &path).unwrap();
    let rotated = keyring.rotate().await.unwrap();
    let wrong = Keyring::open(master(machine.path()), database.clone()).await.unwrap_err();
    let mut shown = format!("{keyring:?} {rotated:?} {:?} {wrong} {wrong:?}", master(dir.path()));
    // A key file with a character too many is still nearly the key.
    fs::write(&path, fs::read_to_string(dir.path().join("master.key")).unwrap() + "A").unwrap();
    let malformed = MasterKey::load_or_make(&path).unwrap_err();
    assert!(matches!(malformed, MasterKeyError::Malformed(_)), "{malformed:?}");
    shown += &format!("{malformed} {malformed:?}");

    for name in ["master.key", "master.key.previous"] {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        let secret = BASE64_STANDARD.decode(text.trim()).unwrap();
        assert!(!shown.contains(&text.trim()[..8]), "{shown}");
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.to_lowercase().contains(&hex[..8]) && !shown.contains(&hex[hex.len() - 16..]), "{shown}");
        let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
        assert!(!shown.contains(&numbers[..4].join(", ")), "{shown}");
    }
}
