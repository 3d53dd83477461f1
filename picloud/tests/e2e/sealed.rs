//! The log proves itself, to whoever asks from the command line.

use std::sync::Arc;

use picloud::embedded::Embedded;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::{
    app,
    home::{Home, told},
    service::Start,
};

const PAY: &str = r#"
kv::collection("paid").set(ctx.request.params.order, 100);
"paid"
"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_log_is_proved_and_who_changes_it_is_found_out_whether_the_service_runs_or_not() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let shop = app::write(&home, "shop", &[("pay", "POST /pay/:order", PAY)]);
    home.picloud(&["deploy", &shop]).await;
    for order in 1..4 {
        let paid = service.call(Method::POST, "shop.localhost", &format!("/pay/{order}")).send().await.unwrap();
        assert_eq!(paid.status(), StatusCode::OK);
    }
    let events = home.picloud(&["events", "--kind", "kv.set", "--output", "json"]).await;
    let events = json(events.lines().next().unwrap());
    let event = events["id"].as_str().unwrap();
    let proof = loop {
        let proof = home.run(&["seals", "proof", event]).await;
        if proof.status.success() {
            break proof;
        }
        assert!(told(&proof).contains("is not sealed yet: try again in a second"), "{}", told(&proof));
    };
    let proof = home.write("proof.json", &told(&proof));
    let proof = proof.to_str().unwrap();
    let checked = home.picloud(&["verify", "--proof", proof]).await;
    assert!(checked.contains("kv.set") && checked.contains("on its own word"), "{checked}");

    let anchor = home.picloud(&["seals", "anchor"]).await;
    let key = json(&anchor)["key"].as_str().unwrap().to_owned();
    let anchor = home.write("anchor.json", &anchor);
    let with_anchor = ["verify", "--anchor", anchor.to_str().unwrap()];
    let verified = home.picloud(&with_anchor).await;
    assert!(
        verified.contains("events are as they were sealed") && verified.contains(&format!("{key}, trusted")),
        "{verified}"
    );

    let mut database = PgConnection::connect_with(&Embedded::running_in(&home.data()).unwrap()).await.unwrap();
    let changed = "update log.data set data = replace(data::text, '100', '900')::json
        where position = (select min(position) from log.data) returning position";
    let position: i64 = sqlx::query_scalar(changed).fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    let refused = home.run(&with_anchor).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains(&format!("the event at position {position} is not the one that was sealed")));
    // What was proved before is proved without the log.
    home.picloud(&["verify", "--proof", proof, "--key", &key]).await;

    service.stop().await;
    let found = home.run(&["verify", "--output", "json"]).await;
    assert_eq!(found.status.code(), Some(1), "{}", told(&found));
    let found = json(&String::from_utf8(found.stdout).unwrap());
    assert_eq!(
        (&found["is_as_sealed"], &found["findings"][0]["position"]),
        (&false.into(), &position.into()),
        "{found}"
    );
    assert_eq!(found["findings"][0]["wrong"], "changed");
    // Stopped, it left nothing unsealed.
    let last = &found["last"]["up_to"].as_i64().unwrap();
    assert!(*last > position, "{found}");

    let elsewhere = home.run(&["verify", "--data-dir", "/nowhere"]).await;
    assert!(told(&elsewhere).contains("there is no instance in /nowhere"), "{}", told(&elsewhere));
    let other = home.run(&["verify", "--key", &"A".repeat(43)]).await;
    assert!(told(&other).contains("which is not trusted"), "{}", told(&other));
}
