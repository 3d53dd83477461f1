//! Addresses of alert channels, on a real database.

use picloud_core::{
    id::SecretId,
    keys::{Destination, Keyring, MasterKey, Webhook, sweep_destinations},
};
use sqlx::PgPool;

#[sqlx::test(migrations = "../migrations")]
async fn an_address_is_kept_sealed_until_it_is_erased_or_nothing_names_it(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let master = MasterKey::load_or_make(&folder.path().join("master.key")).unwrap();
    let keyring = Keyring::open(master, pool.clone()).await.unwrap();
    let webhook = Webhook::at("https://hooks.example.com/services/T0/open-sesame").unwrap();
    let destination = Destination::Webhook(webhook.clone());
    let id = keyring.store_destination(&destination).await.unwrap();
    let Some(Destination::Webhook(read)) = keyring.destination(id).await.unwrap() else { panic!("it is there") };
    assert_eq!((&read.url, &read.secret), (&webhook.url, &webhook.secret));
    let stored: Vec<u8> = sqlx::query_scalar("select material from live.secret_material where id = $1")
        .bind(id.uuid())
        .fetch_one(&pool)
        .await
        .unwrap();
    for secret in ["open-sesame", "hooks.example.com", &webhook.secret.reveal()] {
        assert!(!stored.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} lies open");
    }

    keyring.erase_destination(id).await;
    assert!(keyring.destination(id).await.unwrap().is_none());
    assert!(keyring.destination(SecretId::generate()).await.unwrap().is_none());

    // What no event names is swept after a day: until then it may be about to be committed.
    let id = keyring.store_destination(&destination).await.unwrap();
    sweep_destinations(&pool).await.unwrap();
    assert!(keyring.destination(id).await.unwrap().is_some());
    sqlx::query("update live.secret_material set created_at = now() - interval '25 hours' where id = $1")
        .bind(id.uuid())
        .execute(&pool)
        .await
        .unwrap();
    sweep_destinations(&pool).await.unwrap();
    assert!(keyring.destination(id).await.unwrap().is_none());
}
