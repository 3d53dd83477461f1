//! The keyring on a real database.

mod destinations;
mod erase;
mod rotate;

use std::path::Path;

use picloud_core::{
    id::AppId,
    keys::{Keyring, KeyringError, MasterKey, Purpose},
};
use sqlx::PgPool;

fn master(dir: &Path) -> MasterKey {
    MasterKey::load_or_make(&dir.join("master.key")).unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn nodes_that_start_at_once_have_the_same_keys(database: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    master(dir.path());
    let opening = (0..4).map(|_| Keyring::open(master(dir.path()), database.clone()));
    let keyrings: Vec<Keyring> = futures::future::join_all(opening).await.into_iter().map(Result::unwrap).collect();
    for _ in 0..5 {
        let app = AppId::generate();
        assert!(keyrings[0].known(app).is_none());
        let keys = futures::future::join_all(keyrings.iter().map(|keyring| keyring.app(app))).await;
        let sealed = keys[0].as_ref().unwrap().seal(Purpose::Recording, b"run", b"text");
        for key in &keys {
            assert_eq!(key.as_ref().unwrap().open(Purpose::Recording, b"run", &sealed).as_deref(), Ok(&b"text"[..]));
        }
        let other = keyrings[1].app(AppId::generate()).await.unwrap();
        assert!(other.open(Purpose::Recording, b"run", &sealed).is_err(), "another app's key");
        assert!(keyrings[0].instance().open(Purpose::Recording, b"run", &sealed).is_err(), "the instance's key");
        assert_eq!(keyrings[0].known(app).unwrap().id(), keys[0].as_ref().unwrap().id());
    }
    assert!(keyrings.iter().all(|keyring| keyring.instance().id() == keyrings[0].instance().id()));
    // A restart finds them again.
    let sealed = keyrings[0].instance().seal_bytes(Purpose::Outcome, b"scope", b"text");
    let later = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    assert_eq!(later.instance().open_bytes(Purpose::Outcome, b"scope", &sealed).as_deref(), Ok(&b"text"[..]));
}

#[sqlx::test(migrations = "../migrations")]
async fn another_master_key_is_refused(database: PgPool) {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    let refused = Keyring::open(master(other.path()), database.clone()).await.unwrap_err();
    assert!(matches!(refused, KeyringError::WrongMasterKey { .. }), "{refused:?}");
    let keys: i64 = sqlx::query_scalar("select count(*) from live.secret_material").fetch_one(&database).await.unwrap();
    assert_eq!(keys, 1, "and made no key of its own");
}

#[sqlx::test(migrations = "../migrations")]
async fn no_key_shows_in_debug_output_or_in_the_database(database: PgPool) {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    keyring.app(AppId::generate()).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("master.key")).unwrap();
    let secret = BASE64_STANDARD.decode(text.trim()).unwrap();
    assert_eq!(secret.len(), 32);

    let wrapped: Vec<Vec<u8>> =
        sqlx::query_scalar("select material from live.secret_material").fetch_all(&database).await.unwrap();
    assert_eq!(wrapped.len(), 2);
    for material in &wrapped {
        assert!(!material.windows(8).any(|window| secret.windows(8).any(|part| part == window)));
    }
    // A key in debug output would be a list of numbers, one way or another.
    let shown = format!("{:?} {keyring:?} {:?}", master(dir.path()), keyring.instance());
    let numbers = shown.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() <= 3 && !number.is_empty());
    let shown_bytes: Vec<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
    assert!(!shown_bytes.windows(4).any(|window| secret.windows(4).any(|part| part == window)), "{shown}");
    assert!(!shown.contains(text.trim()));
    let hex: String = secret.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    assert!(!shown.to_lowercase().contains(&hex));
}
