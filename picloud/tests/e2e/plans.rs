//! How the database goes about what it is asked for.

use std::sync::Arc;

use reqwest::StatusCode;

use crate::{app, home::Home, service::Start, shared_database::SharedDatabase};

const READS: i64 = 200;

#[tokio::test]
async fn keys_are_looked_up_by_index_also_when_the_plan_was_made_while_there_were_few() {
    let home = Arc::new(Home::new());
    let database = SharedDatabase::new().await;
    let service = Start::new(&home).with("DATABASE_URL", database.url()).ready().await;
    let read = r#"kv::collection("kept").get(ctx.request.params.key)"#;
    let app = app::write(&home, "few", &[("keep", "POST /keep/:key", app::KEEP), ("read", "GET /kept/:key", read)]);
    home.picloud(&["deploy", &app]).await;
    assert_eq!(service.post("few.localhost", "/keep/only").await.0, StatusCode::OK);

    let mut connection = database.connect().await;
    // Now the database knows that the table is so small that reading all of it is quickest.
    sqlx::query("analyze state.kv").execute(&mut connection).await.unwrap();
    for _ in 0..READS {
        assert_eq!(service.get("few.localhost", "/kept/only").await, (StatusCode::OK, "\"only\"".to_owned()));
    }
    let mut scans = async || -> (i64, i64) {
        sqlx::query_as("select idx_scan, seq_scan from pg_stat_user_tables where relid = 'state.kv'::regclass")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    // Connections tell of what they did when they have nothing else to do.
    let mut counted = (0, 0);
    for _ in 0..600 {
        counted = scans().await;
        // Whoever sweeps reads all of so small a table: that is not counted for one of ours.
        if counted.0 >= READS {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (by_index, by_reading_all) = counted;
    assert!(by_index >= READS && by_reading_all < 20, "{by_index} by index, {by_reading_all} by reading all");
    service.stop().await;
    drop(database);
}
