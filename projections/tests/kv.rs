//! Stored values on a real database.

use picloud_projections::kv;
use sqlx::PgPool;

#[sqlx::test(migrations = "../migrations")]
async fn a_sweep_leaves_nothing_behind_that_has_expired_and_takes_nothing_that_has_not(pool: PgPool) {
    sqlx::query(
        "insert into state.kv (app_id, collection, key, value, expires_at, position)
        select '00000000-0000-0000-0000-000000000001', 'c', n::text, '1',
            case when n <= 2500 then now() - interval '1 hour' when n = 2501 then now() + interval '1 hour' end, n
        from generate_series(1, 2502) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(kv::sweep(&pool).await.unwrap(), 2500);
    let left: Vec<String> = sqlx::query_scalar("select key from state.kv order by key").fetch_all(&pool).await.unwrap();
    assert_eq!(left, ["2501", "2502"]);
}
