//! Outcomes that are not needed any more.

use picloud_core::log::idempotency;
use sqlx::PgPool;

#[sqlx::test(migrations = "../migrations")]
async fn a_sweep_forgets_all_that_has_expired_and_nothing_else(database: PgPool) {
    sqlx::query(
        "insert into live.idempotency (scope, app_id, fingerprint, claim, claimed_by, expires_at)
        select sha256(n::text::bytea), gen_random_uuid(), '', gen_random_uuid(), gen_random_uuid(),
            now() + case when n <= 2500 then interval '-1 hour' else interval '1 hour' end
        from generate_series(1, 2501) n",
    )
    .execute(&database)
    .await
    .unwrap();
    assert_eq!(idempotency::sweep(&database).await.unwrap(), 2500);
    let left: i64 = sqlx::query_scalar("select count(*) from live.idempotency").fetch_one(&database).await.unwrap();
    assert_eq!(left, 1);
}
