//! Somebody is told when something is wrong: signed, once in a cool-down, and through a `kill -9`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    app,
    eventually::eventually,
    history,
    home::{Home, told},
    service::{Service, Start, answer, client},
    shared_database::SharedDatabase,
};

/// Who is told.
struct Receiver {
    url: String,
    inner: Arc<Inner>,
    task: AbortHandle,
}

struct Inner {
    taken: Mutex<Vec<(HeaderMap, Bytes)>>,
    status: AtomicU16,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/open-sesame", listener.local_addr().unwrap());
        let inner = Arc::new(Inner { taken: Mutex::default(), status: AtomicU16::new(200) });
        let router = Router::new().route("/hooks/open-sesame", post(take)).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, inner, task }
    }

    fn answers(&self, status: u16) {
        self.inner.status.store(status, Ordering::SeqCst);
    }

    /// All messages, once there are so many.
    async fn got(&self, count: usize) -> Vec<(HeaderMap, Value)> {
        let taken = eventually("the receiver is told", || async {
            let taken = self.inner.taken.lock().clone();
            (taken.len() >= count).then_some(taken)
        })
        .await;
        taken.into_iter().map(|(headers, body)| (headers, serde_json::from_slice(&body).unwrap())).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    inner.taken.lock().push((headers, body));
    (StatusCode::from_u16(inner.status.load(Ordering::SeqCst)).unwrap(), "as you say")
}

/// An app whose `POST /` is owed, fails at once and becomes a dead letter.
pub async fn broken(home: &Home, app: &str) {
    let manifest = format!(
        "app = \"{app}\"\nhosts = [\"{app}.localhost\"]\n\
         [[script]]\nname = \"fail\"\nroute = \"POST /\"\nmode = \"async\"\nretry = {{ max_attempts = 1 }}\n"
    );
    home.write(&format!("{app}/picloud.toml"), &manifest);
    home.write(&format!("{app}/fail.rhai"), r#"throw "on purpose""#);
    home.picloud(&["deploy", app]).await;
}

/// The same with a handler of its letters.
async fn handled(home: &Home, app: &str, handler: &str) {
    broken(home, app).await;
    let trigger = "[[script]]\nname = \"care\"\n[[trigger]]\nkind = \"dead_letter\"\nscript = \"care\"\n\
                   retry = { max_attempts = 1 }\n";
    let manifest = std::fs::read_to_string(home.path().join(app).join("picloud.toml")).unwrap();
    home.write(&format!("{app}/picloud.toml"), &(manifest + trigger));
    home.write(&format!("{app}/care.rhai"), handler);
    home.picloud(&["deploy", app]).await;
}

pub async fn fail(service: &Service, app: &str) {
    let (status, told) = service.post(&format!("{app}.localhost"), "/").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
}

/// The log's events of a kind, once there are so many.
pub async fn events(service: &Service, kind: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} of {kind}"), || async {
        let page = service.admin(&format!("/events?kind={kind}")).await;
        let items = page["items"].as_array().unwrap().clone();
        (items.len() >= count).then_some(items)
    })
    .await
}

#[tokio::test]
async fn a_dead_letter_is_told_once_in_a_cool_down_and_nothing_of_the_address_is_written_down() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).with("PICLOUD_LOG", "debug").ready().await;
    let receiver = Receiver::start().await;
    let set = home
        .run_reading(
            &["alerts", "set", "ops", "--webhook", "-", "--on", "dead-letter", "--output", "json"],
            &receiver.url,
        )
        .await;
    assert!(set.status.success(), "{}", told(&set));
    let channel: Value = serde_json::from_slice(&set.stdout).unwrap();
    let secret = channel["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap().to_owned();
    broken(&home, "shop").await;
    broken(&home, "blog").await;

    fail(&service, "shop").await;
    let (headers, body) = receiver.got(1).await.remove(0);
    assert_eq!(body["type"], "alert.raised");
    assert_eq!(body["data"]["app"]["slug"], "shop");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.contains("The app `shop` has a new dead letter. Next: `picloud dead-letters ls --app shop`"),
        "{text}"
    );
    assert_eq!(body["data"]["instance"], service.admin);
    // Its own words, so that it can be typed.
    assert!(home.picloud(&["dead-letters", "ls", "--app", "shop"]).await.contains("fail"));

    // As a receiver checks it (https://www.standardwebhooks.com).
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(header("webhook-id"), body["data"]["alert"]);
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), raw(&receiver, 0));
    let key = BASE64_STANDARD.decode(&secret).unwrap();
    assert_eq!(
        header("webhook-signature"),
        format!("v1,{}", BASE64_STANDARD.encode(hmac_sha256(&key, signed.as_bytes())))
    );

    events(&service, "alert.delivered", 1).await;
    fail(&service, "shop").await;
    events(&service, "dead_letter.created", 2).await;
    // Another app's is another matter: once that was told, the second of the shop was looked at.
    fail(&service, "blog").await;
    assert_eq!(receiver.got(2).await[1].1["data"]["app"]["slug"], "blog");
    events(&service, "alert.delivered", 2).await;
    assert_eq!(events(&service, "alert.raised", 2).await.len(), 2);
    assert_eq!(receiver.got(2).await.len(), 2);

    let figures = client().get(format!("{}/metrics", service.admin)).bearer_auth(service.key());
    let (_, figures) = answer(figures).await;
    assert!(figures.contains(r#"picloud_alerts_raised_total{condition="dead_letter"} 2"#), "{figures}");
    assert!(figures.contains(r#"picloud_alert_attempts_total{outcome="delivered"} 2"#), "{figures}");

    let tested = home.picloud(&["alerts", "test", "ops"]).await;
    assert!(tested.contains("has taken the test: it answered 200. It said: as you say"), "{tested}");
    assert_eq!(receiver.got(3).await[2].1["type"], "alert.test");
    let listed = home.picloud(&["alerts", "ls"]).await;
    assert!(listed.contains("127.0.0.1:"), "{listed}");
    let log: String = history::of(&service).await.iter().map(Value::to_string).collect();
    let said = service.stop().await;
    for (where_to, text) in [("the log", &log), ("what the service said", &said), ("the list", &listed)] {
        assert!(!text.contains("open-sesame") && !text.contains(&secret), "it is in {where_to}");
    }
}

#[tokio::test]
async fn letters_that_a_handler_takes_care_of_wake_nobody() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let receiver = Receiver::start().await;
    home.picloud(&["alerts", "set", "ops", "--webhook", &receiver.url, "--on", "dead-letter"]).await;
    handled(&home, "cared-for", "\"cared for\"").await;
    handled(&home, "helpless", "throw \"too much for me\"").await;
    fail(&service, "cared-for").await;
    events(&service, "dead_letter.handler_ended", 1).await;
    fail(&service, "helpless").await;
    let (_, body) = receiver.got(1).await.remove(0);
    assert_eq!(body["data"]["app"]["slug"], "helpless", "{body}");
    assert_eq!(events(&service, "dead_letter.handler_ended", 2).await.len(), 2, "not before it was given up");
    events(&service, "alert.delivered", 1).await;
    assert_eq!(events(&service, "alert.raised", 1).await.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn an_alert_outlives_its_receivers_absence_and_a_killed_service() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let receiver = Receiver::start().await;
    receiver.answers(503);
    home.picloud(&["alerts", "set", "ops", "--webhook", &receiver.url, "--on", "dead-letter"]).await;
    broken(&home, "shop").await;
    fail(&service, "shop").await;
    let again = events(&service, "alert.rescheduled", 1).await;
    assert_eq!(again[0]["data"]["error"], "it answered 503");
    let listed: Value = serde_json::from_str(&home.picloud(&["alerts", "ls", "--output", "json"]).await).unwrap();
    assert_eq!(
        (&listed["items"][0]["owed"], &listed["items"][0]["last_error"]),
        (&json!(1), &json!("it answered 503"))
    );
    let refused = home.run(&["alerts", "test", "ops"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("has not taken the test: it answered 503"), "{}", told(&refused));
    service.kill().await;

    receiver.answers(200);
    let service = Start::new(&home).ready().await;
    let delivered = events(&service, "alert.delivered", 1).await;
    assert_eq!(delivered[0]["subject"], again[0]["subject"]);
    let ids: Vec<_> = receiver.got(3).await.iter().map(|(headers, _)| headers["webhook-id"].clone()).collect();
    assert_eq!(ids.first(), ids.last(), "the same message, by which a receiver tells what it has had");
    assert_eq!(events(&service, "alert.raised", 1).await.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_backup_that_failed_is_told_also_when_a_command_took_it() {
    let (home, database) = (Arc::new(Home::new()), SharedDatabase::new().await);
    let service = Start::new(&home).with("DATABASE_URL", database.url()).ready().await;
    let receiver = Receiver::start().await;
    home.picloud(&["alerts", "set", "ops", "--webhook", &receiver.url, "--on", "backup-failed"]).await;
    let mut connection = database.connect().await;
    let newer =
        "update _sqlx_migrations set version = 999999 where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    let variables = BTreeMap::from([("DATABASE_URL", database.url().to_owned())]);
    let failed = home.run_with(&["backup", "copy.picloud"], &variables).await;
    assert_eq!(failed.status.code(), Some(1), "{}", told(&failed));
    assert!(!home.path().join("copy.picloud").exists());
    let (_, body) = receiver.got(1).await.remove(0);
    assert_eq!(body["data"]["condition"], "backup_failed");
    assert!(body["data"]["error"].as_str().unwrap().contains("schema version 999999"), "{body}");
    // And by API, within the cool-down: it is in the log, and nobody is woken again.
    let request = client().get(format!("{}/api/v1/admin/backup", service.admin)).bearer_auth(service.key());
    assert_eq!(answer(request).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(events(&service, "backup.failed", 2).await.len(), 2);
    events(&service, "alert.delivered", 1).await;
    assert_eq!(events(&service, "alert.raised", 1).await.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_view_that_stands_still_is_told_and_so_is_that_it_goes_on() {
    let (home, database) = (Arc::new(Home::new()), SharedDatabase::new().await);
    let service = Start::new(&home).with("DATABASE_URL", database.url()).ready().await;
    let receiver = Receiver::start().await;
    home.picloud(&["alerts", "set", "ops", "--webhook", &receiver.url, "--on", "view-parked"]).await;
    let shop = app::write(&home, "shop", &[("greet", "GET /", "\"hello\"")]);
    home.picloud(&["deploy", &shop]).await;
    let mut connection = database.connect().await;
    let broken = "alter table views.run_rollup rename column ok to well";
    sqlx::query(broken).execute(&mut connection).await.unwrap();
    assert_eq!(service.get("shop.localhost", "/").await.0, StatusCode::OK);
    let (_, raised) = receiver.got(1).await.remove(0);
    assert_eq!((&raised["data"]["condition"], &raised["data"]["view"]), (&json!("view_parked"), &json!("metrics")));

    let variables = BTreeMap::from([("DATABASE_URL", database.url().to_owned())]);
    let replaced = home.run_with(&["replay", "--view", "metrics", "--swap"], &variables).await;
    assert!(replaced.status.success(), "{}", told(&replaced));
    let (_, recovered) = receiver.got(2).await.remove(1);
    assert_eq!(recovered["type"], "alert.recovered");
    assert_eq!(recovered["data"]["message"], "The view `metrics` goes on.");
    assert_eq!(recovered["data"]["alert"], raised["data"]["alert"]);
    service.stop().await;
}

fn raw(receiver: &Receiver, message: usize) -> String {
    String::from_utf8(receiver.inner.taken.lock()[message].1.to_vec()).unwrap()
}

/// RFC 2104, by its own words: what is tried is not checked by itself.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let pad = |with: u8| {
        let mut block = [with; 64];
        key.iter().zip(&mut block).for_each(|(key, byte)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
