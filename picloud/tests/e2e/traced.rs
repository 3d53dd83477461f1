//! Traces, as a collector gets them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::HeaderMap, routing::get};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use parking_lot::Mutex;
use picloud_core::id::{OutboxId, RequestId};
use reqwest::{Method, StatusCode};
use tokio::net::TcpListener;

use crate::{
    app,
    cluster::{Pair, pair_with},
    collector::{Collector, Told},
    eventually::eventually,
    home::Home,
    service::{Service, Start, client},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Someone whom scripts call: remembers the headers of each call.
async fn neighbour() -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let heard: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = |State(heard): State<Arc<Mutex<Vec<HeaderMap>>>>, headers: HeaderMap| async move {
        heard.lock().push(headers);
        StatusCode::IM_A_TEAPOT
    };
    // Who comes first waits for ever.
    let late = |State(heard): State<Arc<Mutex<Vec<HeaderMap>>>>, headers: HeaderMap| async move {
        let is_first = heard.lock().is_empty();
        heard.lock().push(headers);
        if is_first {
            std::future::pending::<()>().await;
        }
    };
    let router = Router::new().route("/hook/hunter2", get(answer)).route("/late", get(late));
    let router = router.with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, heard)
}

const MANIFEST: &str = r#"
app = "shop"
hosts = ["shop.localhost"]

[[script]]
name = "checkout"
route = "POST /orders/:id"

[[script]]
name = "mail"

[[script]]
name = "mourn"

[[script]]
name = "later"
route = "POST /later"
mode = "async"
retry = { max_attempts = 100, backoff = "constant", base_ms = 20 }

[[script]]
name = "after"

[[script]]
name = "open"
route = "POST /open"

[[trigger]]
kind = "queue"
queue = "mail"
script = "mail"
retry = { max_attempts = 2, backoff = "constant", base_ms = 50 }

[[trigger]]
kind = "dead_letter"
script = "mourn"

[[trigger]]
kind = "kv"
collection = "done"
script = "after"
"#;

async fn shop(home: &Home, neighbour: &str) {
    home.write("shop/picloud.toml", MANIFEST);
    let checkout = format!(
        r#"let answer = http::get("http://{neighbour}/hook/hunter2", #{{ query: #{{ key: "hunter2" }} }});
           kv::collection("orders").set(ctx.request.params.id, ctx.request.body);
           queue::send("mail", #{{ said: "hunter2" }});
           answer.status"#
    );
    home.write("shop/checkout.rhai", &checkout);
    home.write("shop/mail.rhai", r#"throw "hunter2 cannot be reached""#);
    home.write("shop/mourn.rhai", r#"kv::collection("mourned").set("one", 1)"#);
    let later = r#"if !kv::collection("gate").has("open") { throw "shut"; } kv::collection("done").set("it", 1)"#;
    home.write("shop/later.rhai", later);
    home.write("shop/after.rhai", r#"kv::collection("after").set("it", 1)"#);
    home.write("shop/open.rhai", r#"kv::collection("gate").set("open", true)"#);
    home.picloud(&["deploy", "shop"]).await;
    home.picloud(&["app", "http", "allow", "shop", neighbour]).await;
}

/// The trace of a request, as its answer names it.
fn trace_of(answer: &reqwest::Response) -> String {
    let request: RequestId = answer.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
    format!("{:032x}", request.ulid().0)
}

fn one_of<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("there is no `{name}`: {spans:#?}"));
    assert!(found.next().is_none(), "there are several `{name}`: {spans:#?}");
    first
}

/// All of a name, in the order of their beginnings.
fn all<'a>(spans: &'a [Told], name: &str) -> Vec<&'a Told> {
    let mut found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    found.sort_by_key(|span| span.from);
    found
}

/// Each is part of one that is there, but for the first; no two bear one name; none ends before it begins.
fn assert_whole(spans: &[Told], first: &str) {
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), spans.len(), "{spans:#?}");
    for span in spans {
        assert!(span.from <= span.to, "{span:?}");
        assert!(if span.name == first { span.parent.is_empty() } else { ids.contains(&span.parent) }, "{span:#?}");
    }
}

fn assert_within(inner: &Told, outer: &Told) {
    assert_eq!(inner.parent, outer.id, "{inner:#?} {outer:#?}");
    assert!(outer.from <= inner.from && inner.to <= outer.to, "{inner:#?} {outer:#?}");
}

#[tokio::test]
async fn a_request_and_all_that_follows_from_it_is_one_trace() {
    let (home, collector) = (Arc::new(Home::new()), Collector::start().await);
    let (neighbour, heard) = neighbour().await;
    let service = Start::new(&home)
        .with(ENDPOINT, &collector.url)
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter3%21")
        .with("OTEL_SERVICE_NAME", "shop-pi")
        .with("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .ready()
        .await;
    shop(&home, &neighbour).await;
    let theirs = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let answer = service
        .call(Method::POST, "shop.localhost", "/orders/7?token=hunter2")
        .header("traceparent", format!("00-{}-{}-01", theirs.0, theirs.1))
        .header("x-secret", "hunter2")
        .header("content-type", "text/plain")
        .body("hunter2")
        .send()
        .await
        .unwrap();
    let (status, trace) = (answer.status(), trace_of(&answer));
    let invocation = answer.headers()["x-picloud-invocation"].to_str().unwrap().to_owned();
    assert_eq!((status, answer.text().await.unwrap().as_str()), (StatusCode::OK, "418"));
    let wanted = ["POST /orders/:id", "run checkout", "GET", "enqueue mail", "dead letter mail", "process mourn"];
    let spans = collector.trace(&trace, &wanted).await;
    assert_whole(&spans, "POST /orders/:id");

    // The request, the run in it, and what that took.
    let (request, run) = (one_of(&spans, "POST /orders/:id"), one_of(&spans, "run checkout"));
    assert_eq!(request.kind, SpanKind::Server);
    assert_eq!(request.links, [(theirs.0.to_owned(), theirs.1.to_owned())], "who called is linked, not joined");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/orders/:id"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("server.address", "shop.localhost"),
        ("picloud.app", "shop"),
    ] {
        assert_eq!(request.attributes.get(name).map(String::as_str), Some(value), "{name}: {request:#?}");
    }
    assert_within(run, request);
    assert_eq!(run.attributes["faas.invocation_id"], invocation);
    assert_eq!(run.attributes["faas.name"], "checkout");
    let call = one_of(&spans, "GET");
    assert_within(call, run);
    assert_eq!((call.kind, call.is_error, &*call.attributes["error.type"]), (SpanKind::Client, true, "418"));
    let (host, port) = neighbour.split_once(':').unwrap();
    assert_eq!((&*call.attributes["server.address"], &*call.attributes["server.port"]), (host, port));
    let commits = all(&spans, "commit");
    assert_within(commits.iter().find(|commit| commit.parent == run.id).unwrap(), run);
    assert_eq!(
        heard.lock()[0]["traceparent"],
        format!("00-{trace}-{}-03", call.id),
        "the other side can go on with it"
    );

    // What the run owed: tried twice, each time after a wait, then given up and taken care of.
    let owed = one_of(&spans, "enqueue mail");
    assert_eq!((&owed.parent, owed.kind), (&run.id, SpanKind::Producer));
    let (waits, attempts) = (all(&spans, "wait mail"), all(&spans, "process mail"));
    assert_eq!((waits.len(), attempts.len()), (2, 2), "{spans:#?}");
    for (n, (wait, attempt)) in waits.iter().zip(&attempts).enumerate() {
        assert_eq!((&wait.parent, &attempt.parent), (&owed.id, &owed.id));
        assert_eq!(wait.to, attempt.from, "it waits until it is tried");
        assert_eq!(attempt.attributes["picloud.attempt"], (n + 1).to_string());
        assert_eq!(
            (attempt.kind, attempt.is_error, &*attempt.attributes["error.type"]),
            (SpanKind::Consumer, true, "threw")
        );
    }
    assert_eq!(waits[0].from, owed.from, "from when it was owed");
    assert!(waits[1].from >= attempts[0].from && waits[1].to - waits[1].from >= 25_000_000, "{:?}", waits[1]);
    let letter = one_of(&spans, "dead letter mail");
    assert_eq!((&letter.parent, letter.is_error), (&owed.id, true));
    assert_eq!(letter.attributes["error.type"], "attempts_exhausted");
    let item: OutboxId = owed.attributes["messaging.message.id"].parse().unwrap();
    assert_eq!(letter.attributes["messaging.message.id"], item.to_string());
    let mourned = one_of(&spans, "process mourn");
    let handling = one_of(&spans, "enqueue mourn");
    assert_eq!((&handling.parent, &mourned.parent, mourned.is_error), (&letter.id, &handling.id, false));

    // Nothing that anybody sent or said is told, and whom it is told to is told who tells it.
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains("hunter2"));
    assert!(collector.headers().iter().all(|headers| headers["x-key"] == "hunter3!"));
    assert_eq!(request.resource["service.name"], "shop-pi");
    assert_eq!(request.resource["deployment.environment.name"], "test");
    assert_eq!(request.resource["service.instance.id"], service.epoch());
    let said = service.stop().await;
    assert!(!said.contains("hunter"), "{said}");
}

#[tokio::test]
async fn what_is_answered_before_it_runs_is_one_trace_however_often_it_is_tried() {
    let (home, collector) = (Arc::new(Home::new()), Collector::start().await);
    let (neighbour, _) = neighbour().await;
    let service = Start::new(&home).with(ENDPOINT, &collector.url).ready().await;
    shop(&home, &neighbour).await;
    let answer = service.call(Method::POST, "shop.localhost", "/later").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let trace = trace_of(&answer);
    collector.trace(&trace, &["process later"]).await;
    service.post("shop.localhost", "/open").await;
    let spans = collector.trace(&trace, &["POST /later", "process after"]).await;
    assert_whole(&spans, "POST /later");
    let (request, owed) = (one_of(&spans, "POST /later"), one_of(&spans, "enqueue later"));
    assert_eq!((&*request.attributes["http.response.status_code"], &owed.parent), ("202", &request.id));
    let attempts = all(&spans, "process later");
    let (done, failed) = attempts.split_last().unwrap();
    assert!(!done.is_error && !failed.is_empty() && failed.iter().all(|attempt| attempt.is_error), "{attempts:#?}");
    assert!(attempts.iter().all(|attempt| attempt.parent == owed.id));
    let (owes, after) = (one_of(&spans, "enqueue after"), one_of(&spans, "process after"));
    assert_eq!((&owes.parent, &after.parent), (&done.id, &owes.id), "what the last attempt caused follows from it");
    service.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_a_trace_too_and_what_was_told_last_is_sent_before_the_end() {
    let (home, collector) = (Arc::new(Home::new()), Collector::start().await);
    let service = Start::new(&home).with(ENDPOINT, &collector.url).ready().await;
    let folder = app::write(&home, "shop", &[("fail", "GET /fail", "throw \"no\"")]);
    home.picloud(&["deploy", &folder]).await;
    let nowhere = service.call(Method::GET, "shop.localhost", "/nowhere/at/all").send().await.unwrap();
    let failed = service.call(Method::GET, "shop.localhost", "/fail").send().await.unwrap();
    assert_eq!((nowhere.status(), failed.status()), (StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR));
    // Well within the second that spans wait for each other.
    service.stop().await;
    let spans = collector.spans();
    let of = |answer| spans.iter().filter(|span| span.trace == trace_of(answer)).cloned().collect::<Vec<_>>();
    let nowhere = of(&nowhere);
    assert_eq!((nowhere.len(), &*nowhere[0].name, nowhere[0].is_error), (1, "GET", false), "{nowhere:#?}");
    let failed = of(&failed);
    assert_whole(&failed, "GET /fail");
    assert_eq!(one_of(&failed, "GET /fail").attributes["error.type"], "500");
    assert_eq!(one_of(&failed, "run fail").attributes["error.type"], "threw");
    assert!(spans.iter().all(|span| span.attributes.get("url.path").is_none_or(|path| path != "/readyz")));
}

#[tokio::test]
async fn what_a_dead_node_ran_is_ended_and_done_in_the_same_trace_by_another() {
    let collector = Collector::start().await;
    let Pair { mut one, two, home, database } = pair_with(&[(ENDPOINT, &collector.url)]).await;
    let (neighbour, heard) = neighbour().await;
    let manifest = "app = \"slow\"\nhosts = [\"slow.localhost\"]\n\
         [[script]]\nname = \"wait\"\nroute = \"POST /wait\"\nmode = \"async\"\n\
         [[script]]\nname = \"after\"\n\
         [[trigger]]\nkind = \"kv\"\ncollection = \"waited\"\nscript = \"after\"\n";
    home.write("slow/picloud.toml", manifest);
    let wait = format!(r#"http::get("http://{neighbour}/late"); kv::collection("waited").set("it", 1)"#);
    home.write("slow/wait.rhai", &wait);
    home.write("slow/after.rhai", "1");
    home.picloud(&["deploy", "slow"]).await;
    home.picloud(&["app", "http", "allow", "slow", &neighbour]).await;
    eventually("the other knows the app", || async {
        two.get("slow.localhost", "/nowhere").await.1.contains("no route answers").then_some(())
    })
    .await;
    let accepted = one.call(Method::POST, "slow.localhost", "/wait").send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let trace = trace_of(&accepted);
    eventually("its run is under way", || async { (!heard.lock().is_empty()).then_some(()) }).await;
    // Some of it is told already, by the one that is to die.
    collector.trace(&trace, &["POST /wait", "enqueue wait"]).await;
    one.kill().await;

    let spans = collector.trace(&trace, &["process wait", "process after"]).await;
    let attempts = all(&spans, "process wait");
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    let owed = one_of(&spans, "enqueue wait");
    assert!(attempts.iter().all(|attempt| attempt.parent == owed.id), "{spans:#?}");
    assert_eq!((attempts[0].is_error, &*attempts[0].attributes["error.type"]), (true, "abandoned"));
    assert!(!attempts[1].is_error && attempts[0].to <= attempts[1].to, "{spans:#?}");
    let (dead, left) = (&owed.resource["service.instance.id"], &attempts[1].resource["service.instance.id"]);
    assert_eq!((left, &attempts[0].resource["service.instance.id"]), (&two.epoch(), &two.epoch()));
    assert_ne!(dead, left, "what was told before came from the other");
    assert_eq!(one_of(&spans, "enqueue after").parent, attempts[1].id);
    assert_whole(&spans, "POST /wait");
    two.stop().await;
    drop(database);
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_in_the_trace_of_what_it_asked_for() {
    let (home, collector) = (Arc::new(Home::new()), Collector::start().await);
    let (neighbour, heard) = neighbour().await;
    let service = Start::new(&home).with(ENDPOINT, &collector.url).ready().await;
    let wait = format!(r#"http::get("http://{neighbour}/late", #{{ timeout_ms: 1_000 }})"#);
    let folder = app::write(&home, "slow", &[("wait", "GET /wait", &wait)]);
    home.picloud(&["deploy", &folder]).await;
    home.picloud(&["app", "http", "allow", "slow", &neighbour]).await;
    let call = tokio::spawn(service.call(Method::GET, "slow.localhost", "/wait").send());
    eventually("its run is under way", || async { (!heard.lock().is_empty()).then_some(()) }).await;
    call.abort();
    let spans = eventually("its run is told", || async {
        let spans = collector.spans();
        let trace = spans.iter().find(|span| span.name == "run wait")?.trace.clone();
        Some(spans.into_iter().filter(|span| span.trace == trace).collect::<Vec<_>>())
    })
    .await;
    assert_whole(&spans, "GET /wait");
    let (request, run) = (one_of(&spans, "GET /wait"), one_of(&spans, "run wait"));
    assert_eq!((request.is_error, &*request.attributes["error.type"]), (true, "client_gone"));
    assert_eq!((&run.parent, &*run.attributes["error.type"]), (&request.id, "threw"));
    assert!(request.to < run.to, "the run went on: {spans:#?}");
    let call = one_of(&spans, "GET");
    assert_eq!((&call.parent, &*call.attributes["error.type"]), (&run.id, "no_answer"));
    service.stop().await;
}

async fn figures(service: &Service) -> BTreeMap<String, f64> {
    let answer = client().get(format!("{}/metrics", service.admin)).bearer_auth(service.key()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

const DROPPED: &str = "picloud_trace_spans_dropped_total";

#[tokio::test]
async fn a_collector_that_is_away_slow_or_broken_costs_nobody_anything_but_its_spans() {
    let (home, collector) = (Arc::new(Home::new()), Collector::start().await);
    let service = Start::new(&home).with(ENDPOINT, &collector.url).ready().await;
    let folder = app::write(&home, "shop", &[("greet", "GET /greet", "`hello`")]);
    home.picloud(&["deploy", &folder]).await;
    let greet = async || {
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(service.get("shop.localhost", "/greet").await.0, StatusCode::OK);
        }
        assert!(began.elapsed() < Duration::from_secs(8), "nobody waits for it: {:?}", began.elapsed());
    };
    collector.answers(500);
    greet().await;
    let broken = eventually("what it did not take is counted", || async {
        figures(&service).await.get(DROPPED).copied().filter(|dropped| *dropped >= 150.0)
    })
    .await;
    assert!(service.said().contains("it answered 500"), "{}", service.said());
    // It takes them and never says so.
    collector.answers(0);
    let asked = collector.asked();
    greet().await;
    eventually("it is asked", || async { (collector.asked() > asked).then_some(()) }).await;
    greet().await;
    collector.answers(200);
    service.until_it_says("The collector takes spans again").await;
    let after = figures(&service).await;
    assert!(after[DROPPED] >= broken && after["picloud_trace_spans_exported_total"] > 0.0, "{after:?}");
    let said = service.stop().await;
    assert_eq!(said.matches("Spans are dropped").count(), 1, "it is said once: {said}");
}

#[tokio::test]
async fn traces_are_off_unless_a_collector_is_named_and_its_key_shows_nowhere() {
    let home = Arc::new(Home::new());
    let (neighbour, heard) = neighbour().await;
    let service = Start::new(&home).with("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2").ready().await;
    shop(&home, &neighbour).await;
    assert_eq!(service.post("shop.localhost", "/orders/1").await.0, StatusCode::OK);
    let calls = heard.lock().clone();
    assert!(calls.len() == 1 && !calls[0].contains_key("traceparent"), "{calls:?}");
    assert!(!figures(&service).await.contains_key(DROPPED));
    let variables = [
        (ENDPOINT, "http://collector.test:4318".to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2".to_owned()),
    ];
    let shown = home.run_with(&["serve", "--print-config"], &variables.clone().into()).await;
    let shown = crate::home::told(&shown);
    assert!(shown.contains("http://collector.test:4318") && shown.contains("otlp_headers"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let wrong = [variables[0].clone(), ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2".to_owned())];
    let refused = home.run_with(&["serve"], &wrong.into()).await;
    let told = crate::home::told(&refused);
    assert!(!refused.status.success() && told.contains("OTEL_EXPORTER_OTLP_HEADERS is `****`"), "{told}");
    let said = service.stop().await;
    assert!(!said.contains("hunter2"), "{said}");
}
