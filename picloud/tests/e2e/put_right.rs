//! State that is changed behind the service's back: it is seen, and put right, and the service goes on with what is right.

use std::sync::Arc;

use picloud::embedded::Embedded;
use reqwest::Method;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::{
    app,
    eventually::eventually,
    home::{Home, told},
    service::{Service, Start},
};

async fn currency(service: &Service) -> String {
    let answer = service.call(Method::GET, "shop.localhost", "/currency").send().await.unwrap();
    answer.text().await.unwrap()
}

async fn execute(home: &Home, sql: &'static str) {
    let mut database = PgConnection::connect_with(&Embedded::running_in(&home.data()).unwrap()).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn state_that_was_changed_behind_the_service_is_named_and_put_right_while_it_runs() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let scripts = [("currency", "GET /currency", "ctx.env.CURRENCY"), ("keep", "PUT /keep/:key", app::KEEP)];
    let shop = app::write(&home, "shop", &scripts);
    home.picloud(&["deploy", &shop]).await;
    home.picloud(&["env", "set", "CURRENCY=EUR", "--app", "shop"]).await;
    for key in ["a", "b"] {
        let kept = service.call(Method::PUT, "shop.localhost", &format!("/keep/{key}")).send().await.unwrap();
        assert!(kept.status().is_success(), "{kept:?}");
    }
    let same = home.picloud(&["replay", "--state"]).await;
    let lines: Vec<&str> = same.lines().collect();
    assert!(lines.len() > 20 && lines.iter().all(|line| line.ends_with("rows, the same")), "{same}");

    // The service has what is wrong in its memory as soon as it reads how the app is set up again.
    execute(&home, "update state.env set value = 'USD'; delete from state.kv where key = 'b'").await;
    home.picloud(&["env", "set", "OTHER=1", "--app", "shop"]).await;
    eventually("the service has read it", async || currency(&service).await.contains("USD").then_some(())).await;
    let differs = home.run(&["replay"]).await;
    assert_eq!(differs.status.code(), Some(1));
    let differs = told(&differs);
    for part in [
        "name=CURRENCY  value: the log says \"EUR\", the table has \"USD\"",
        "collection=kept key=b  {\"app_id\"",
        "picloud replay --swap --table kv --table env",
    ] {
        assert!(differs.contains(part), "{part}: {differs}");
    }
    let json = home.run(&["replay", "--table", "kv", "--output", "json"]).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["items"][0]["only_log"], &json["items"][0]["examples"][0]["only"]), (&1.into(), &"log".into()));

    let put_right = home.picloud(&["replay", "--state", "--swap"]).await;
    assert!(put_right.contains("1 put right"), "{put_right}");
    eventually("the service has read it again", async || currency(&service).await.contains("EUR").then_some(())).await;
    home.picloud(&["replay"]).await;
    let events = home.picloud(&["events", "--kind", "projection", "--output", "json"]).await;
    assert!(events.contains("projection.rebuilt") && events.contains("\"table\":\"env\""), "{events}");
    let unknown = told(&home.run(&["replay", "--table", "kvs"]).await);
    assert!(unknown.contains("there is no table `kvs` in state"), "{unknown}");
    service.stop().await;
}
