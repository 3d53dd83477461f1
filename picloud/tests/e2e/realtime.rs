//! Streams of topics over real sockets: through restarts, on two nodes, and beside readers who do not read.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    app,
    cluster::{Pair, pair},
    eventually::eventually,
    history,
    home::Home,
    service::{Service, Start, client},
    stream,
};

const SAY: &[(&str, &str, &str)] = &[
    ("say", "POST /say", r#"pubsub::publish("ticks", ctx.request.body)"#),
    ("call", "POST /call", r#"pubsub::broadcast("ticks", ctx.request.body)"#),
];

/// Somebody who listens, comes back where it stopped, and remembers what it was told.
struct Subscriber {
    /// Where the service is at the moment.
    at: watch::Sender<String>,
    seen: watch::Receiver<Vec<Value>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Listens to a topic. Has begun when this returns.
    async fn begin(service: &Service, host: &str, topic: &str) -> Self {
        let (at, mut place) = watch::channel(service.public.clone());
        let (tell, seen) = watch::channel(Vec::new());
        let (ready, mut is_ready) = watch::channel(false);
        let (host, path) = (host.to_owned(), format!("/realtime/topics/{topic}"));
        let task = tokio::spawn(async move {
            let mut cursor = None;
            loop {
                let url = format!("{}{path}", *place.borrow_and_update());
                let _ = stream::read(&url, &host, &mut cursor, |event, data| {
                    assert_ne!(event, "reset", "nothing it could ask for is gone");
                    if event == "message" {
                        tell.send_modify(|seen| seen.push(data["message"].clone()));
                    }
                    ready.send_replace(true);
                })
                .await;
                // It comes back at once, or where the service has gone.
                let _ = timeout(Duration::from_millis(50), place.changed()).await;
            }
        });
        timeout(Duration::from_secs(20), is_ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
        Self { at, seen, task }
    }

    /// Waits until it was told so many messages.
    async fn told(&self, how_many: usize) -> Vec<Value> {
        let mut seen = self.seen.clone();
        let enough = seen.wait_for(|seen| seen.len() >= how_many);
        let enough = timeout(Duration::from_secs(30), enough).await.map(|seen| seen.unwrap().clone());
        enough.unwrap_or_else(|_| panic!("{how_many} messages were awaited, told were {}", self.seen.borrow().len()))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(service: &Service, host: &str, what: &Value) -> StatusCode {
    let said = service.call(Method::POST, host, "/say").json(what).send().await;
    said.map_or(StatusCode::SERVICE_UNAVAILABLE, |answer| answer.status())
}

/// What was published, by the log.
async fn published(service: &Service, app: &str) -> Vec<Value> {
    let events = history::all(service, &format!("/apps/{app}/events?kind=message.published&order=asc")).await;
    events.iter().map(|event| event["data"]["message"].clone()).collect()
}

#[tokio::test]
async fn a_subscriber_is_told_everything_once_through_kills_and_restarts() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let app = app::write(&home, "ticks", SAY);
    home.picloud(&["deploy", &app]).await;
    home.picloud(&["topics", "set", "ticks", "--auth", "public", "--app", "ticks"]).await;
    eventually("the topic is there", || async {
        let asked = service.call(Method::HEAD, "ticks.localhost", "/realtime/topics/ticks").send().await.unwrap();
        (asked.status() == StatusCode::OK).then_some(())
    })
    .await;
    let subscriber = Subscriber::begin(&service, "ticks.localhost", "ticks").await;
    for round in 0..3 {
        for n in 0..40 {
            say(&service, "ticks.localhost", &json!([round, n])).await;
        }
        // In the middle of what is being said and told.
        let last = service.call(Method::POST, "ticks.localhost", "/say").json(&json!([round, "last"])).send();
        let _ = tokio::join!(last, service.kill());
        service = Start::new(&home).ready().await;
        subscriber.at.send_replace(service.public.clone());
        say(&service, "ticks.localhost", &json!([round, "back"])).await;
    }
    let log = published(&service, "ticks").await;
    assert!(log.len() >= 123, "{}", log.len());
    assert_eq!(subscriber.told(log.len()).await, log, "complete, in order, nothing twice");
    service.stop().await;
}

#[tokio::test]
async fn a_subscriber_of_one_node_is_told_what_another_commits() {
    let Pair { one, two, home, database: _database } = pair().await;
    let app = app::write(&home, "ticks", SAY);
    home.picloud(&["deploy", &app]).await;
    home.picloud(&["topics", "set", "*", "--auth", "public", "--app", "ticks"]).await;
    eventually("both have the topic", || async {
        for service in [&one, &two] {
            let asked = service.call(Method::HEAD, "ticks.localhost", "/realtime/topics/ticks").send().await.unwrap();
            if asked.status() != StatusCode::OK {
                return None;
            }
        }
        Some(())
    })
    .await;
    let (here, there) = tokio::join!(
        Subscriber::begin(&one, "ticks.localhost", "ticks"),
        Subscriber::begin(&two, "ticks.localhost", "ticks")
    );
    for n in 0..50 {
        let service = if n % 2 == 0 { &one } else { &two };
        assert_eq!(say(service, "ticks.localhost", &json!(n)).await, StatusCode::OK);
    }
    let expected: Vec<Value> = (0..50).map(Value::from).collect();
    assert_eq!(here.told(50).await, expected);
    assert_eq!(there.told(50).await, expected);
    // What is not kept is told on both as well, however long.
    let long = json!("ü".repeat(20_000));
    let called = one.call(Method::POST, "ticks.localhost", "/call").json(&long).send().await.unwrap();
    assert_eq!(called.status(), StatusCode::OK);
    assert_eq!(here.told(51).await[50], long);
    assert_eq!(there.told(51).await[50], long);
    assert_eq!(published(&one, "ticks").await.len(), 50, "and is in no log");
    // Who was on the one goes on with the other.
    here.at.send_replace(two.public.clone());
    one.stop().await;
    say(&two, "ticks.localhost", &json!("alone")).await;
    assert_eq!(here.told(52).await.last(), Some(&json!("alone")));
    two.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_delays_nobody() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let app = app::write(&home, "ticks", SAY);
    home.picloud(&["deploy", &app]).await;
    home.picloud(&["topics", "set", "ticks", "--auth", "public", "--app", "ticks"]).await;
    let subscriber = Subscriber::begin(&service, "ticks.localhost", "ticks").await;
    let mut deaf = TcpStream::connect(service.public.trim_start_matches("http://")).await.unwrap();
    deaf.write_all(b"GET /realtime/topics/ticks HTTP/1.1\r\nhost: ticks.localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(200)).await;
    // More than the kernel keeps for it, and than the ring does.
    let (messages, long) = (200, "x".repeat(100_000));
    for n in 0..messages {
        assert_eq!(say(&service, "ticks.localhost", &json!([n, long])).await, StatusCode::OK);
    }
    let told = subscriber.told(messages).await;
    assert!(told.iter().enumerate().all(|(n, message)| message[0] == n), "all of them, in order");

    let mut heard = Vec::new();
    timeout(Duration::from_secs(20), deaf.read_to_end(&mut heard)).await.expect("it is cut").unwrap();
    let heard = String::from_utf8_lossy(&heard);
    let frames = heard.rsplit("event: ").next().unwrap();
    assert!(
        frames.starts_with("lagged\ndata: {\"reason\":\"slow\",\"cursor\":\""),
        "{}",
        &frames[..frames.len().min(200)]
    );
    service.stop().await;
}

#[tokio::test]
async fn a_token_from_before_a_rotation_is_refused_by_every_node_at_once() {
    let Pair { one, two, home, database: _database } = pair().await;
    let app = app::write(&home, "ticks", SAY);
    home.picloud(&["deploy", &app]).await;
    home.picloud(&["topics", "set", "ticks", "--auth", "token", "--app", "ticks"]).await;
    let tokens = format!("{}/api/v1/admin/apps/ticks/subscriber_tokens", one.admin);
    let asked =
        client().post(&tokens).bearer_auth(one.key()).json(&json!({ "topics": ["ticks"] })).send().await.unwrap();
    let token = asked.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let asked = |service: &Service| {
        let asked = service.call(Method::HEAD, "ticks.localhost", "/realtime/topics/ticks").bearer_auth(&token).send();
        async { asked.await.unwrap().status() }
    };
    eventually("both take it", || async { (asked(&one).await == 200 && asked(&two).await == 200).then_some(()) }).await;
    let rotated = client().post(format!("{tokens}/rotate")).bearer_auth(one.key()).send().await.unwrap();
    assert_eq!(rotated.status(), StatusCode::NO_CONTENT);
    assert_eq!(asked(&one).await, 401);
    // Long before the minute is over for which a key counts without a look.
    let refused = eventually("the other has heard of it", || async { (asked(&two).await == 401).then_some(()) });
    timeout(Duration::from_secs(10), refused).await.unwrap();
    one.stop().await;
    two.stop().await;
}
