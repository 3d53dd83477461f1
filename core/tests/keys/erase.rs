//! Erasing an app's key.

use picloud_core::{
    id::AppId,
    keys::{Keyring, Purpose},
};
use sqlx::PgPool;

use super::master;

#[sqlx::test(migrations = "../migrations")]
async fn what_was_under_an_erased_key_is_closed_for_ever(database: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    let (app, other) = (AppId::generate(), AppId::generate());
    let sealed = keyring.app(app).await.unwrap().seal(Purpose::Recording, b"run", b"text");
    let others = keyring.app(other).await.unwrap().seal(Purpose::Recording, b"run", b"text");
    let own = keyring.instance().seal(Purpose::Recording, b"run", b"text");

    assert!(keyring.erase(app).await.unwrap(), "there was one");
    assert!(!keyring.erase(app).await.unwrap(), "there is none any more");
    assert!(keyring.known(app).is_none());

    let reopened = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    for keyring in [keyring, reopened] {
        let fresh = keyring.app(app).await.unwrap();
        assert_ne!(fresh.id(), sealed.key_id);
        assert!(fresh.open(Purpose::Recording, b"run", &sealed).is_err());
        let key = keyring.app(other).await.unwrap();
        assert!(key.open(Purpose::Recording, b"run", &others).is_ok(), "another app's is untouched");
        assert!(keyring.instance().open(Purpose::Recording, b"run", &own).is_ok(), "and so is the instance's");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn another_node_forgets_an_erased_key_when_it_is_told(database: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    let here = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    let there = Keyring::open(master(dir.path()), database.clone()).await.unwrap();
    let (app, other) = (AppId::generate(), AppId::generate());
    let erased = there.app(app).await.unwrap();
    there.app(other).await.unwrap();
    here.erase(app).await.unwrap();
    there.forget(app);
    assert!(there.known(app).is_none());
    assert!(there.known(other).is_some());
    assert_ne!(there.app(app).await.unwrap().id(), erased.id());
}
