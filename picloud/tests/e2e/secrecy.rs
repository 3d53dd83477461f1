//! No platform credential is in the log, in a table, in a log line or in an error.

use std::{fs, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Method, StatusCode};

use crate::{
    home::Home,
    service::{Start, answer, client},
    shared_database::SharedDatabase,
};

/// Not a key of ours, so the script may read it; the log may not.
const FOREIGN: &str = "Basic Zm9yZWlnbjpjcmVkZW50aWFs";
const COOKIE: &str = "picloud_session=c2Vzc2lvbi1jb29raWU";
const SET_COOKIE: &str = "visit=c2V0LWNvb2tpZQ";

#[tokio::test]
async fn no_credential_can_be_found_in_anything_that_is_written_down() {
    let database = SharedDatabase::new().await;
    let home = Arc::new(Home::new());
    let service = Start::new(&home).with("DATABASE_URL", database.url()).with("PICLOUD_LOG", "debug").ready().await;
    let source = format!(
        "if ctx.request.path == `/throw` {{ throw `on purpose` }} \
         #{{ statusCode: 200, headers: #{{ `set-cookie`: `{SET_COOKIE}` }}, body: ctx.request.headers.authorization }}"
    );
    let app = crate::app::write(&home, "secretive", &[("echo", "ANY /*", &source.replace('`', "\""))]);
    home.picloud(&["deploy", &app]).await;

    let bearer = format!("Bearer {}", service.key());
    let unknown = format!("Bearer pic_{}", "x".repeat(40));
    let mut statuses = Vec::new();
    for (path, authorization) in [("/a", &bearer), ("/a", &FOREIGN.to_owned()), ("/throw", &bearer), ("/a", &unknown)] {
        let request = service.call(Method::POST, "secretive.localhost", path);
        let request = request.header("authorization", authorization).header("cookie", COOKIE).body("hello");
        let (status, body) = answer(request).await;
        assert!(!body.contains(service.key()) && !body.contains("xxxx"), "{path}: {body}");
        statuses.push(status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 500, 401]);
    let wrong = client().get(format!("{}/api/v1/admin/apps", service.admin)).header("authorization", &unknown);
    assert_eq!(answer(wrong).await.0, StatusCode::UNAUTHORIZED);

    let key = service.key().to_owned();
    let said = service.stop().await;
    let master = fs::read_to_string(home.data().join("master.key")).unwrap();
    let stored = everything(&database).await;
    assert!(stored.contains("invocation.completed"), "there is something to look through");
    let raw_master = BASE64_STANDARD.decode(master.trim()).unwrap();
    let secrets = [
        ("the API key", key.as_bytes()),
        ("an unknown API key", unknown.as_bytes()),
        ("the master key's text", master.trim().as_bytes()),
        ("the master key", raw_master.as_slice()),
        ("an authorization header", FOREIGN.strip_prefix("Basic ").unwrap().as_bytes()),
        ("a session cookie", COOKIE.split_once('=').unwrap().1.as_bytes()),
        ("a cookie that was set", SET_COOKIE.split_once('=').unwrap().1.as_bytes()),
    ];
    for (what, secret) in secrets {
        let bytes: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for (place, text) in [("a table", &stored), ("a log line", &said)] {
            assert!(!text.contains(&bytes), "{what} is in {place}, as bytes");
            let found = std::str::from_utf8(secret).is_ok_and(|secret| text.contains(secret));
            // The script's source holds what it sets, and is ours to see.
            assert!(!found || what == "a cookie that was set", "{what} is in {place}");
        }
    }
}

/// Every row of every table, as text; bytes are hexadecimal in it.
async fn everything(database: &SharedDatabase) -> String {
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let rows = format!("select coalesce(string_agg(row::text, E'\\n'), '') from {table} as row");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&mut connection).await.unwrap();
        all += &rows;
    }
    all
}
