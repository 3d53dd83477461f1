//! Whoever appends goes on meanwhile, and makes no difference.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use picloud_core::{
    event::{Event, app, env, kv},
    id::AppId,
};
use picloud_projections::state::{Compared, rebuild};
use sqlx::PgPool;
use tokio::time::interval;

use crate::{
    put_right::set,
    writer::{Writer, differing, found},
};

/// So often: whoever folds shares the processor with whoever appends, and has to catch up.
const PACE: Duration = Duration::from_millis(10);

/// Appends until it is told to stop.
async fn append(writer: &Writer, app: AppId, stop: &AtomicBool, done: &AtomicU64) {
    let mut pace = interval(PACE);
    for n in 0_u64.. {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let counted = kv::Increased { collection: "carts".to_owned(), key: "count".to_owned(), by: 1 };
        let mut events: Vec<Event> = vec![counted.into(), set(&format!("{}", n % 50), &n.to_string())];
        if n % 5 == 0 {
            events.push(env::Set { name: "COUNT".to_owned(), value: n.to_string() }.into());
        }
        writer.commit(Some(app), events).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_written_meanwhile_is_no_difference_and_what_is_wrong_is_put_right_under_it(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    writer.commit(Some(app), vec![app::Created { app, slug: "shop".to_owned() }.into()]).await.unwrap();
    writer.commit(Some(app), vec![set("still", "1"), set("count", "0")]).await.unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let replays = async {
        let rebuilt = rebuild(&pool, &[], false, |_| {}).await.unwrap();
        assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:?}");
        assert!(done.load(Ordering::Relaxed) > 5, "commits were made meanwhile");
        // What goes on being counted is wrong by a hundred, until it is put right under whoever counts.
        for wrong in [
            "update state.kv set value = '2' where key = 'still'",
            "update state.kv set value = to_json(value::text::bigint + 100) where key = 'count'",
        ] {
            sqlx::query(wrong).execute(&pool).await.unwrap();
        }
        let rebuilt = rebuild(&pool, &[], true, |_| {}).await.unwrap();
        let kv = found(&rebuilt, "kv");
        assert!(matches!(kv, Compared::Different { changed: 2, only_table: 0, only_log: 0, .. }), "{kv:?}");
        let rebuilt = rebuild(&pool, &[], false, |_| {}).await.unwrap();
        assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:?}");
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(append(&writer, app, &stop, &done), replays);
    let counted: String =
        sqlx::query_scalar("select value::text from state.kv where key = 'count'").fetch_one(&pool).await.unwrap();
    assert_eq!(counted, done.into_inner().to_string());
    writer.stop().await;
}
