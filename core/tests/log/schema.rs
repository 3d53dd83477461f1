//! Bringing a database up, and refusing one that this binary does not fit.

use futures::future::join_all;
use picloud_core::log::schema::{self, SchemaError};
use sqlx::PgPool;

#[sqlx::test(migrations = false)]
async fn a_database_is_brought_up_once_however_often_and_by_however_many(database: PgPool) {
    for answer in join_all((0..4).map(|_| schema::migrate(&database))).await {
        answer.unwrap();
    }
    let history = schema::history(&database).await.unwrap();
    schema::migrate(&database).await.unwrap();
    assert_eq!(schema::history(&database).await.unwrap(), history, "nothing began anew");
    let newest: i64 =
        sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&database).await.unwrap();
    assert_eq!(newest, schema::version());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_newer_database_is_refused_with_both_versions(database: PgPool) {
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'from the future', true, '', 0)",
    )
    .execute(&database)
    .await
    .unwrap();
    let refused = schema::migrate(&database).await.unwrap_err();
    assert!(matches!(refused, SchemaError::Newer { found: 9999, known } if known == schema::version()), "{refused:?}");
    assert!(refused.to_string().contains("9999"), "{refused}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_migration_that_is_not_the_one_we_know_is_refused_by_number(database: PgPool) {
    sqlx::query("update _sqlx_migrations set checksum = 'another' where version = 2").execute(&database).await.unwrap();
    let refused = schema::migrate(&database).await.unwrap_err();
    assert!(matches!(refused, SchemaError::Altered(2)), "{refused:?}");
}
