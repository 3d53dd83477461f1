//! Streams of topics through their router, on a real log. What the wire and many nodes do to them is tested with the binary.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures::future::join_all;
use http::Method;
use picloud_core::{
    event::{Actor, Class, partition::Archived},
    log::{Commit, NewEvent},
};
use picloud_ingress::{
    data_plane::{Catalog, Snapshot},
    realtime::{self, RealtimeParts, StreamLimits},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Client, Frame, Frames, World, text};

const TOPICS: &str = "/api/v1/admin/apps/default/topics";
const GUARD: Duration = Duration::from_secs(20);

/// No host leads anywhere: apps are named by `?app=`.
struct NoHosts;

impl Catalog for NoHosts {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::default()
    }
}

/// A node with its streams.
struct Node {
    world: World,
    streams: Client,
    stop: CancellationToken,
}

impl Node {
    fn of(world: World, limits: StreamLimits) -> Self {
        let stop = CancellationToken::new();
        let plane = &world.plane;
        let (router, _) = realtime::router(RealtimeParts {
            catalog: Arc::new(NoHosts),
            setup: plane.setup.clone(),
            committer: plane.committer.clone(),
            tail: plane.tail.clone(),
            reader: plane.reader.clone(),
            keyring: plane.keyring.clone(),
            history: plane.history,
            limits,
            stop: stop.clone(),
        });
        Self { world, streams: Client { router, key: None }, stop }
    }

    async fn start(pool: PgPool) -> Self {
        Self::of(World::start(pool).await, StreamLimits::default())
    }

    async fn register(&self, topic: &str, auth: &str) {
        let said = json!({ "external": true, "auth": auth });
        self.world.owner.put(&format!("{TOPICS}/{topic}"), said).await.is(200);
    }

    async fn publish(&self, topic: &str, message: impl Into<Value>) {
        let body = json!({ "message": message.into() });
        self.world.owner.post(&format!("{TOPICS}/{topic}/publish"), body).await.is(204);
    }

    async fn token(&self, topics: &[&str], ttl_s: u32) -> String {
        let body = json!({ "topics": topics, "ttl_s": ttl_s });
        text(&self.world.owner.post("/api/v1/admin/apps/default/subscriber_tokens", body).await.is(200)["token"])
    }

    async fn listen(&self, query: &str, last_event_id: Option<&str>) -> Frames {
        self.streams.stream(&url(query), last_event_id).await
    }

    async fn refused(&self, query: &str) -> u16 {
        self.streams.head_of(Method::GET, &url(query)).await.status.as_u16()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.world.stop().await;
    }
}

fn url(query: &str) -> String {
    format!("/realtime/topics?app=default&{query}")
}

async fn next(stream: &mut Frames) -> Frame {
    timeout(GUARD, stream.next()).await.expect("a frame in time").expect("the stream goes on")
}

async fn up_to_date(stream: &mut Frames) -> String {
    let frame = next(stream).await;
    assert_eq!(frame.event, "up-to-date", "{frame:?}");
    frame.id.expect("a cursor")
}

async fn message(stream: &mut Frames) -> Frame {
    timeout(GUARD, stream.message()).await.expect("a message in time")
}

/// The next messages, each `topic: message`.
async fn messages(stream: &mut Frames, how_many: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..how_many {
        let message = message(stream).await.json();
        told.push(format!("{}: {}", text(&message["topic"]), message["message"]));
    }
    told
}

async fn closed(stream: &mut Frames) -> String {
    loop {
        let frame = next(stream).await;
        if frame.event == "closed" {
            assert_eq!(timeout(GUARD, stream.next()).await.expect("in time"), None, "it ends with that");
            return text(&frame.json()["reason"]);
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_message_is_told_once_it_is_in_the_log_and_gone_on_with_after_a_break(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    node.publish("poll", 0).await;
    let mut first = node.listen("topics=poll", None).await;
    up_to_date(&mut first).await;
    node.publish("poll", json!({ "votes": 1 })).await;
    node.publish("other", 1).await;
    node.publish("poll", 2).await;
    let frame = message(&mut first).await;
    let cursor = frame.id.clone().expect("a cursor");
    let said = frame.json();
    assert_eq!((&said["topic"], &said["message"]), (&json!("poll"), &json!({ "votes": 1 })));
    assert!(text(&said["published_at"]).ends_with('Z'));
    assert_eq!(messages(&mut first, 1).await, ["poll: 2"]);

    // From its last id on, whether that is in the header or the query.
    let mut by_header = node.listen("topics=poll", Some(&cursor)).await;
    let mut by_query = node.listen(&format!("topics=poll&after={cursor}"), None).await;
    for stream in [&mut by_header, &mut by_query] {
        assert_eq!(messages(stream, 1).await, ["poll: 2"]);
        up_to_date(stream).await;
    }
    node.publish("poll", 3).await;
    for stream in [&mut first, &mut by_header, &mut by_query] {
        assert_eq!(messages(stream, 1).await, ["poll: 3"]);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_missed_is_told_from_the_log_when_no_memory_of_it_is_left(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    let mut before = node.listen("topics=poll", None).await;
    let cursor = up_to_date(&mut before).await;
    for n in 0..30 {
        node.publish(if n % 3 == 0 { "other" } else { "poll" }, n).await;
    }
    // Another node, started later: its ring is empty.
    let another = Node::of(node.world.another().await, StreamLimits::default());
    another.world.settled().await;
    let expected: Vec<_> = (0..30).filter(|n| n % 3 != 0).map(|n| format!("poll: {n}")).collect();
    let mut streams = join_all((0..5).map(|_| another.listen("topics=poll", Some(&cursor)))).await;
    for stream in &mut streams {
        assert_eq!(messages(stream, 20).await, expected);
        up_to_date(stream).await;
    }
    // What this node publishes is heard on that.
    node.publish("poll", "live").await;
    for stream in &mut streams {
        assert_eq!(messages(stream, 1).await, ["poll: \"live\""]);
    }
    another.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn all_below_a_topic_can_be_listened_to_in_the_order_of_the_log(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("room.*", "public").await;
    node.register("room.staff.*", "token").await;
    let token = node.token(&["room.*"], 60).await;
    let mut all = node.listen(&format!("topics=room.*&token={token}"), None).await;
    let mut two = node.listen("topics=room.a,room.b", None).await;
    up_to_date(&mut all).await;
    up_to_date(&mut two).await;
    for (topic, n) in [("room.a", 1), ("room.staff.b", 2), ("room", 3), ("room.b", 4), ("room.a", 5), ("news", 6)] {
        node.publish(topic, n).await;
    }
    assert_eq!(messages(&mut all, 4).await, ["room.a: 1", "room.staff.b: 2", "room.b: 4", "room.a: 5"]);
    assert_eq!(messages(&mut two, 3).await, ["room.a: 1", "room.b: 4", "room.a: 5"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_not_there_and_what_is_not_for_the_outside_look_alike(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    node.world.owner.put(&format!("{TOPICS}/inner"), json!({ "external": false })).await.is(200);
    node.world.app("other").await;
    let mut details = Vec::new();
    for path in [
        url("topics=inner"),
        url("topics=nothing"),
        url("topics=poll,nothing"),
        url("topics=Poll"),
        url("topics="),
        url(""),
        "/realtime/topics/poll?app=other".to_owned(),
        "/realtime/topics/poll?app=nobody".to_owned(),
        "/realtime/topics/inner?app=default".to_owned(),
    ] {
        details.push(node.streams.get(&path).await.problem(404));
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    let posted = node.streams.post("/realtime/topics/poll?app=default", Value::Null).await;
    posted.problem(405);
    assert_eq!(posted.header("allow"), Some("GET, HEAD, OPTIONS"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_that_is_not_good_is_refused_without_a_reason(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("room.*", "token").await;
    node.world.app("other").await;
    let others = json!({ "topics": ["*"] });
    let others = node.world.owner.post("/api/v1/admin/apps/other/subscriber_tokens", others).await.is(200);
    let others = text(&others["token"]);
    let good = node.token(&["room.7"], 60).await;
    let (rest, _) = good.rsplit_once('.').expect("a signature");
    let mut details = Vec::new();
    for token in ["", "nonsense", "a.b.c", &others, &format!("{rest}.AAAA"), &format!("{rest}.")] {
        let asked = node.streams.get(&url(&format!("topics=room.7&token={token}"))).await;
        assert_eq!(asked.header("www-authenticate"), Some("Bearer"));
        assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
        details.push(asked.problem(401));
    }
    for topics in ["room.8", "room.*", "room.7,room.8"] {
        details.push(node.streams.get(&url(&format!("topics={topics}&token={good}"))).await.problem(401));
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");

    let as_header = Client { key: Some(good.clone()), ..node.streams.clone() };
    up_to_date(&mut as_header.stream(&url("topics=room.7"), None).await).await;
    up_to_date(&mut node.listen(&format!("topics=room.7&token={good}"), None).await).await;

    node.world.owner.post("/api/v1/admin/apps/default/subscriber_tokens/rotate", Value::Null).await.is(204);
    assert_eq!(node.refused(&format!("topics=room.7&token={good}")).await, 401);
    let anew = node.token(&["room.7"], 60).await;
    up_to_date(&mut node.listen(&format!("topics=room.7&token={anew}"), None).await).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_ends_with_its_token(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("room", "token").await;
    let token = node.token(&["room"], 2).await;
    let mut stream = node.listen(&format!("topics=room&token={token}"), None).await;
    up_to_date(&mut stream).await;
    node.publish("room", 1).await;
    let begun = Instant::now();
    assert_eq!(messages(&mut stream, 1).await, ["room: 1"]);
    assert_eq!(closed(&mut stream).await, "token_expired");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(node.refused(&format!("topics=room&token={token}")).await, 401);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_may_not_listen_any_more_is_cut_and_the_others_go_on(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    node.register("news", "public").await;
    let mut poll = node.listen("topics=poll", None).await;
    let mut news = node.listen("topics=news", None).await;
    let cursor = up_to_date(&mut poll).await;
    up_to_date(&mut news).await;
    node.publish("poll", 1).await;
    assert_eq!(messages(&mut poll, 1).await, ["poll: 1"]);
    node.register("poll", "token").await;
    assert_eq!(closed(&mut poll).await, "unauthorized");
    node.publish("news", 1).await;
    assert_eq!(messages(&mut news, 1).await, ["news: 1"]);
    // What was said before is told as what is said now would be.
    assert_eq!(node.refused(&format!("topics=poll&after={cursor}")).await, 401);
    node.world.owner.delete(&format!("{TOPICS}/poll")).await.is(204);
    assert_eq!(node.refused(&format!("topics=poll&after={cursor}")).await, 404);

    node.world.owner.post("/api/v1/admin/apps/default/pause", Value::Null).await.is(204);
    assert_eq!(closed(&mut news).await, "app_paused");
    assert_eq!(closed(&mut node.listen("topics=news", None).await).await, "app_paused");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cursor_of_another_log_begins_anew_and_says_so(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    node.publish("poll", 1).await;
    for cursor in ["nonsense", "AbCdEfGhIjKlMnOpQrStUvWxYz01"] {
        let mut stream = node.listen("topics=poll", Some(cursor)).await;
        let reset = next(&mut stream).await;
        assert_eq!((reset.event.as_str(), text(&reset.json()["reason"])), ("reset", "gone".to_owned()));
        assert_eq!(reset.json()["cursor"], json!(reset.id));
        up_to_date(&mut stream).await;
        node.publish("poll", 2).await;
        assert_eq!(messages(&mut stream, 1).await, ["poll: 2"]);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cursor_older_than_what_is_kept_begins_anew_and_says_so(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    let cursor = up_to_date(&mut node.listen("topics=poll", None).await).await;
    node.publish("poll", 1).await;
    let mut stream = node.listen("topics=poll", Some(&cursor)).await;
    assert_eq!(messages(&mut stream, 1).await, ["poll: 1"]);
    let kept = up_to_date(&mut stream).await;

    // Up to the message, and not what comes after it.
    let plane = &node.world.plane;
    let high = plane.reader.head().await.expect("a head").0 + 1;
    let archived =
        Archived { class: Class::Data, low: 0, high, events: 1, first_at: None, last_at: None, export: None };
    let event = NewEvent::new(None, &Actor::SYSTEM, archived);
    let commit = Commit::new(plane.node.authority(), vec![event]);
    plane.committer.commit(commit).await.expect("a commit");
    node.publish("poll", 2).await;
    assert_eq!(messages(&mut stream, 1).await, ["poll: 2"], "who listens goes on");
    let mut gone = node.listen("topics=poll", Some(&cursor)).await;
    assert_eq!(next(&mut gone).await.event, "reset");
    let mut there = node.listen("topics=poll", Some(&kept)).await;
    assert_eq!(messages(&mut there, 1).await, ["poll: 2"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn too_many_streams_are_told_so_in_a_stream(pool: PgPool) {
    let limits = StreamLimits { node: 3, app: 2, address: 10 };
    let node = Node::of(World::start(pool).await, limits);
    node.register("poll", "public").await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = node.listen("topics=poll", None).await;
        up_to_date(&mut stream).await;
        open.push(stream);
    }
    assert_eq!(closed(&mut node.listen("topics=poll", None).await).await, "overloaded");
    open.pop();
    up_to_date(&mut node.listen("topics=poll", None).await).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_stops_says_where_to_go_on(pool: PgPool) {
    let node = Node::start(pool).await;
    node.register("poll", "public").await;
    let mut stream = node.listen("topics=poll", None).await;
    up_to_date(&mut stream).await;
    node.publish("poll", 1).await;
    let last = message(&mut stream).await.id.expect("a cursor");
    node.stop.cancel();
    let frame = next(&mut stream).await;
    assert_eq!((frame.event.as_str(), frame.json()["reason"].clone()), ("closed", json!("shutting_down")));
    let another = Node::of(node.world.another().await, StreamLimits::default());
    another.world.settled().await;
    node.publish("poll", 2).await;
    for cursor in [last, frame.id.expect("a cursor")] {
        let mut stream = another.listen("topics=poll", Some(&cursor)).await;
        assert_eq!(messages(&mut stream, 1).await, ["poll: 2"]);
    }
    another.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_of_any_origin_may_ask_first(pool: PgPool) {
    let node = Node::start(pool).await;
    let asked = node.streams.head_of(Method::OPTIONS, "/realtime/topics/poll?app=default").await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
    let allowed = asked.header("access-control-allow-headers").expect("headers");
    assert!(["authorization", "last-event-id"].iter().all(|header| allowed.contains(header)), "{allowed}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_get_the_client_and_keep_it_while_it_is_the_same(pool: PgPool) {
    let node = Node::start(pool).await;
    let path = "/realtime/client.js";
    let client = node.streams.get(path).await;
    assert_eq!(client.status, 200);
    assert_eq!(client.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(String::from_utf8_lossy(&client.body).contains("as createClient"), "it exports what pages import");
    let etag = client.etag();
    for (known, status) in [(etag.clone(), 304), (format!("\"other\", W/{etag}"), 304), ("\"other\"".to_owned(), 200)] {
        let request = node.streams.request(Method::GET, path).header("if-none-match", known);
        let asked = node.streams.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((asked.status.as_u16(), asked.body.is_empty()), (status, status == 304));
    }
    node.streams.post(path, Value::Null).await.problem(405);
    node.stop().await;
}
