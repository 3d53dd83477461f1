//! Scripts that run because something happened.

use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    eventually::eventually,
    history,
    home::Home,
    service::{Service, Start, answer},
};

/// An app of these scripts, with what else its `picloud.toml` says.
async fn shop(home: &Home, manifest: &str, scripts: &[(&str, &str)]) {
    home.write("shop/picloud.toml", &format!("app = \"shop\"\nhosts = [\"shop.localhost\"]\n{manifest}"));
    for (name, source) in scripts {
        home.write(&format!("shop/{name}.rhai"), source);
    }
    home.picloud(&["deploy", "shop"]).await;
}

async fn entry(service: &Service, collection: &str, key: &str) -> Value {
    eventually(&format!("there is {collection}/{key}"), || async {
        let keys = history::keys(service, "shop", collection).await;
        if !keys.contains(key) {
            return None;
        }
        Some(service.admin(&format!("/apps/shop/kv/{collection}/{key}")).await["value"].clone())
    })
    .await
}

#[tokio::test]
async fn a_triggered_run_sees_what_happened_and_is_part_of_its_story() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let manifest = "[[script]]\nname = \"put\"\nroute = \"POST /put\"\n\
         [[script]]\nname = \"see\"\n\
         [[trigger]]\nkind = \"kv\"\ncollection = \"cart*\"\nscript = \"see\"\n\
         [[trigger]]\nkind = \"topic\"\ntopic = \"orders.*\"\nscript = \"see\"\n";
    let put = r#"kv::collection("carts").set("ada", #{ n: 1 }); pubsub::publish("orders.paid", 42);"#;
    let see = r#"kv::collection("seen").set(ctx.event.kind, ctx.event)"#;
    shop(&home, manifest, &[("put", put), ("see", see)]).await;
    assert_eq!(service.post("shop.localhost", "/put").await.0, StatusCode::OK);

    let kv = entry(&service, "seen", "kv").await;
    assert_eq!(kv["kv"], json!({ "op": "set", "collection": "carts", "key": "ada", "value": { "n": 1 } }));
    assert_eq!(entry(&service, "seen", "topic").await["topic"], json!({ "topic": "orders.paid", "message": 42 }));
    assert_eq!(kv["attempt"], 1);
    let log = history::of(&service).await;
    let set = log.iter().find(|event| event["subject"] == "kv:carts/ada").unwrap();
    assert_eq!((&kv["id"], &kv["occurred_at"]), (&set["id"], &set["time"]));
    let run =
        log.iter().find(|event| event["type"] == "invocation.started" && event["actor"] == kv["trigger_id"]).unwrap();
    assert_eq!((&run["root"], &run["depth"]), (&set["root"], &json!(1)), "a run of the same chain, one deeper");
    assert_eq!((&run["actorkind"], &run["data"]["invocation_type"]), (&json!("trigger"), &json!("trigger")));
    service.stop().await;
}

#[tokio::test]
async fn a_circle_of_triggers_ends_as_a_dead_letter() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let manifest = "[[script]]\nname = \"start\"\nroute = \"POST /start\"\n\
         [[script]]\nname = \"turn\"\n\
         [[trigger]]\nkind = \"kv\"\ncollection = \"ring\"\nscript = \"turn\"\n";
    let turn = r#"kv::collection("ring").set("n", ctx.event.kv.value + 1)"#;
    shop(&home, manifest, &[("start", r#"kv::collection("ring").set("n", 0)"#), ("turn", turn)]).await;
    assert_eq!(service.post("shop.localhost", "/start").await.0, StatusCode::OK);
    let letter = eventually("it is a letter", || async {
        let letters = service.admin("/apps/shop/dead_letters?unresolved=true").await;
        letters["items"].get(0).cloned()
    })
    .await;
    assert_eq!((&letter["reason"], &letter["script_name"]), (&json!("depth_exceeded"), &json!("turn")));
    assert!(letter["error"].as_str().unwrap().contains("taken for a circle"), "{letter}");
    assert_eq!(entry(&service, "ring", "n").await, 8, "eight triggers may lie between");
    service.stop().await;
}

const QUEUE: &str = "[[script]]\nname = \"send\"\nroute = \"POST /send/:n\"\n\
     [[script]]\nname = \"work\"\n\
     [[script]]\nname = \"mend\"\n\
     [[trigger]]\nkind = \"queue\"\nqueue = \"work\"\nscript = \"work\"\n\
     [[trigger]]\nkind = \"dead_letter\"\nscript = \"mend\"\nretry = { max_attempts = 2, base_ms = 10 }\n";
const SEND: &str = r#"queue::send("work", #{ n: parse_int(ctx.request.params.n) })"#;
const WORK: &str = r#"throw retry::never("cannot do " + ctx.event.queue.message.n)"#;
const MEND: &str = r#"
    let letter = ctx.event.dead_letter;
    let n = letter.original.queue.message.n;
    if n % 2 == 1 { throw "nor can I"; }
    kv::collection("mended").set(`${n}`, letter);"#;

#[tokio::test]
async fn a_script_that_takes_care_of_a_letter_closes_it_and_one_that_fails_leaves_it_in_sight() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, QUEUE, &[("send", SEND), ("work", WORK), ("mend", MEND)]).await;
    for n in [2, 3] {
        assert_eq!(service.post("shop.localhost", &format!("/send/{n}")).await.0, StatusCode::OK);
    }
    let mended = entry(&service, "mended", "2").await;
    assert_eq!((&mended["last_error"], &mended["attempts"]), (&json!("gave up: cannot do 2"), &json!(1)));
    let letters = eventually("both are decided", || async {
        let letters = history::all(&service, "/apps/shop/dead_letters?limit=10").await;
        (letters.len() == 2 && letters.iter().all(|letter| letter["resolution"].is_string())).then_some(letters)
    })
    .await;
    let of = |error: &str| letters.iter().find(|letter| letter["error"] == error).unwrap();
    assert_eq!(of("gave up: cannot do 2")["resolution"], "handled_by_script");
    assert_eq!(of("gave up: cannot do 3")["resolution"], "handler_failed");
    assert!(of("gave up: cannot do 3")["resolved_why"].as_str().unwrap().contains("nor can I"));
    assert_eq!(mended["dead_letter_id"], of("gave up: cannot do 2")["id"]);
    let unresolved = service.admin("/apps/shop/dead_letters?unresolved=true").await;
    assert_eq!(unresolved["items"].as_array().unwrap().len(), 1, "a handler's failure makes no second letter");
    service.stop().await;
}

#[tokio::test]
async fn what_is_paused_waits_and_a_limit_holds() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let manifest = "[[script]]\nname = \"send\"\nroute = \"POST /send/:n\"\n\
         [[script]]\nname = \"work\"\n\
         [[queue]]\nname = \"work\"\nmax_concurrency = 1\n\
         [[trigger]]\nkind = \"queue\"\nqueue = \"work\"\nscript = \"work\"\nretry = { base_ms = 10 }\n";
    // Long enough for the log to be told that it began before it ends.
    let work = r#"
        let n = 0;
        while n < 150_000 { n += 1; }
        kv::collection("done").set(`${ctx.event.queue.message.n}`, true);"#;
    shop(&home, manifest, &[("send", SEND), ("work", work)]).await;
    let trigger = service.admin("/apps/shop/triggers").await["items"][0]["id"].as_str().unwrap().to_owned();
    for (pause, resume) in [
        (vec!["queues", "pause", "work"], vec!["queues", "resume", "work"]),
        (vec!["triggers", "pause", &trigger], vec!["triggers", "resume", &trigger]),
    ] {
        home.picloud(&[pause, vec!["--app", "shop"]].concat()).await;
        let before = history::keys(&service, "shop", "done").await;
        for n in 0..5 {
            let n = before.len() + n;
            assert_eq!(service.post("shop.localhost", &format!("/send/{n}")).await.0, StatusCode::OK);
        }
        let waiting = service.admin("/apps/shop/outbox").await["items"].as_array().unwrap().len();
        assert_eq!(waiting, 5, "they wait");
        assert_eq!(history::keys(&service, "shop", "done").await, before);
        home.picloud(&[resume, vec!["--app", "shop"]].concat()).await;
        eventually("they are done", || async {
            (history::keys(&service, "shop", "done").await.len() == before.len() + 5).then_some(())
        })
        .await;
    }
    // With a limit of one no run begins before the last has ended.
    let log = history::of(&service).await;
    let mut running = 0;
    for event in &log {
        let is_work = event["actorkind"] == "trigger";
        match event["type"].as_str().unwrap() {
            "invocation.started" if is_work => running += 1,
            "invocation.completed" if is_work => running -= 1,
            _ => {}
        }
        assert!(running <= 1, "{event}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_schedule_fires_by_the_clock() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let manifest = "[[script]]\nname = \"tick\"\n\
         [[trigger]]\nkind = \"cron\"\nschedule = \"* * * * * *\"\noverlap = \"allow\"\nscript = \"tick\"\n";
    shop(&home, manifest, &[("tick", r#"kv::collection("ticks").set(ctx.event.cron.due_at, ctx.event.attempt)"#)])
        .await;
    let ticks = eventually("it has ticked thrice", || async {
        let ticks = history::keys(&service, "shop", "ticks").await;
        (ticks.len() >= 3).then_some(ticks)
    })
    .await;
    assert!(ticks.iter().all(|due| !due.contains('.')), "due at whole seconds: {ticks:?}");
    let shown = home.picloud(&["triggers", "ls", "--app", "shop"]).await;
    assert!(shown.contains("* * * * * *"), "{shown}");
    let (status, _) = answer(service.call(reqwest::Method::GET, "shop.localhost", "/")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    service.stop().await;
}
