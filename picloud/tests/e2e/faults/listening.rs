//! Who listens, under whatever goes wrong: each subscriber is told what the log holds, all of it, once and in its order.
//!
//! `PICLOUD_LISTEN_SECONDS` is how long, `PICLOUD_FAULT_SEED` makes the same faults again. An hour takes `--profile long`.

use std::time::Duration;

use reqwest::Method;
use sqlx::PgConnection;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{
    dice::Dice,
    nodes::{Fault, Nodes, any_node},
    number,
};
use crate::{eventually::eventually, service::client, stream};

/// As long as a run of all tests has time for.
const SECONDS: u64 = 8;

const MANIFEST: &str = r#"
[[script]]
name = "say"
route = "POST /say/:topic/:n"

[[topic]]
name = "*"
external = true
auth = "public"
"#;

const SAY: &str = r#"pubsub::publish(`ticks.${ctx.request.params.topic}`, parse_int(ctx.request.params.n))"#;

/// Topics that are published to,
const TOPICS: u64 = 4;

/// and what subscribers ask for.
const ASKED: [&str; 6] = ["ticks.0", "ticks.1", "ticks.*", "*", "ticks.2,ticks.3", "ticks.0,ticks.*"];

/// Who publishes, each one message after the other.
const SPEAKERS: u64 = 3;

/// A topic, and what was published to it.
type Message = (String, u64);

/// Where both nodes are at the moment.
type Places = watch::Receiver<[String; 2]>;

#[tokio::test]
async fn whatever_goes_wrong_every_subscriber_is_told_all_there_is_once_and_in_order() {
    let lasting = Duration::from_secs(number("PICLOUD_LISTEN_SECONDS").unwrap_or(SECONDS));
    let seed = number("PICLOUD_FAULT_SEED").unwrap_or_else(Dice::any_seed);
    // Shown when the test fails.
    println!("PICLOUD_FAULT_SEED={seed} PICLOUD_LISTEN_SECONDS={}", lasting.as_secs());
    let mut dice = Dice::new(seed);
    let mut nodes = Nodes::new(MANIFEST, &[("say", SAY)]).await;
    let (at, places) = watch::channel(places_of(&nodes));
    let mut tasks = JoinSet::new();
    let listeners: Vec<_> =
        (0..).zip(ASKED).map(|(n, asked)| Listener::begin(&mut tasks, &places, asked, seed.wrapping_add(n))).collect();
    for listener in &listeners {
        listener.joined().await;
    }
    let speakers: Vec<_> =
        (0..SPEAKERS).map(|n| tasks.spawn(speak(places.clone(), n, seed.wrapping_sub(n + 1)))).collect();

    let (began, mut faults) = (Instant::now(), 0);
    while began.elapsed() < lasting {
        sleep(Duration::from_millis(dice.below(1_500))).await;
        let fault = Fault::by_chance(&mut dice);
        faults += 1;
        println!("fault {faults}: {fault:?}");
        nodes.happen(fault).await;
        at.send_replace(places_of(&nodes));
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("nobody fails");
        }
    }
    speakers.iter().for_each(AbortHandle::abort);
    let log = published(&mut nodes.database().await).await;
    assert!(log.len() > faults, "{} messages were published", log.len());
    println!("{faults} faults, {} messages", log.len());
    for listener in listeners {
        listener.was_told(&log).await;
    }
    tasks.shutdown().await;
    nodes.stop().await;
}

fn places_of(nodes: &Nodes) -> [String; 2] {
    [0, 1].map(|node| nodes.node(node).public.clone())
}

/// What was published, by the log. What was sent before it is looked at is in it, or will never be.
async fn published(database: &mut PgConnection) -> Vec<Message> {
    let mut before = None;
    loop {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select data ->> 'topic', (data ->> 'message')::bigint from log.events where kind = 'message.published'
            order by position",
        )
        .fetch_all(&mut *database)
        .await
        .unwrap();
        if before == Some(rows.len()) {
            return rows.into_iter().map(|(topic, n)| (topic, u64::try_from(n).unwrap())).collect();
        }
        before = Some(rows.len());
        sleep(Duration::from_secs(2)).await;
    }
}

/// Publishes to any topic by any node, whatever is answered.
async fn speak(places: Places, who: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    for n in (who..).step_by(usize::try_from(SPEAKERS).unwrap()) {
        let place = places.borrow()[any_node(&mut dice)].clone();
        let url = format!("{place}/say/{}/{n}", dice.below(TOPICS));
        let call = client().request(Method::POST, url).header("host", "shop.localhost");
        let _ = call.timeout(Duration::from_secs(5)).send().await;
        sleep(Duration::from_millis(dice.below(40))).await;
    }
}

struct Listener {
    asked: &'static str,
    told: watch::Receiver<Vec<Message>>,
    is_live: watch::Receiver<bool>,
}

impl Listener {
    /// One that goes from node to node, and now and then leaves in the middle of what it is told.
    fn begin(tasks: &mut JoinSet<()>, places: &Places, asked: &'static str, seed: u64) -> Self {
        let (telling, told) = watch::channel(Vec::new());
        let (live, is_live) = watch::channel(false);
        let places = places.clone();
        tasks.spawn(async move {
            let mut dice = Dice::new(seed);
            let mut cursor = None;
            loop {
                let url = format!("{}/realtime/topics?topics={asked}", places.borrow()[any_node(&mut dice)]);
                let staying = if dice.below(3) == 0 { dice.below(1_500) } else { 60_000 };
                let reading = stream::read(&url, "shop.localhost", &mut cursor, |event, data| match event {
                    "message" => {
                        let message = (data["topic"].as_str().unwrap().to_owned(), data["message"].as_u64().unwrap());
                        telling.send_modify(|told| told.push(message));
                    }
                    "up-to-date" => _ = live.send_replace(true),
                    "lagged" | "closed" => {}
                    other => panic!("nothing it could ask for is gone: {other} {data}"),
                });
                let _ = timeout(Duration::from_millis(staying), reading).await;
                sleep(Duration::from_millis(dice.below(200))).await;
            }
        });
        Self { asked, told, is_live }
    }

    /// Waits until it is told what comes.
    async fn joined(&self) {
        let mut is_live = self.is_live.clone();
        timeout(Duration::from_secs(20), is_live.wait_for(|is_live| *is_live)).await.unwrap().unwrap();
    }

    /// Waits until it was told as much as there is for it in the log, and compares.
    async fn was_told(&self, log: &[Message]) {
        let asked: Vec<&str> = self.asked.split(',').collect();
        let is_asked = |topic: &str| {
            asked.iter().any(|asked| match asked.strip_suffix('*') {
                Some(below) => topic.starts_with(below),
                None => topic == *asked,
            })
        };
        let expected: Vec<&Message> = log.iter().filter(|(topic, _)| is_asked(topic)).collect();
        let is_enough = || self.told.borrow().len() >= expected.len();
        let _ =
            timeout(Duration::from_secs(30), eventually("it is told", || async { is_enough().then_some(()) })).await;
        let told = self.told.borrow();
        let first = told.iter().zip(&expected).position(|(told, expected)| told != *expected);
        assert_eq!(first, None, "who asked for {} was told {:?}", self.asked, first.map(|n| (&told[n], expected[n])));
        assert_eq!(told.len(), expected.len(), "who asked for {}", self.asked);
    }
}
