//! Runs that call outside: at once, for reasons that hold, and never twice for having to run again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use picloud_core::{
    event::{Event, FailureReason, kv},
    id::{AppId, InvocationId},
    keys::Purpose,
    limits::Limits,
    run::{Call, Finished, Invoker as _, Unavailable},
};
use picloud_workers::pool::Settings;
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{
    server::{Reply, Server, answer},
    support::{
        Cluster, TestNode, call, call_of, failure_in, json, kinds, lock_log, node, program, program_within, runs_of,
        soon,
    },
};

const JSON: &str = "content-type: application/json\r\n";
const TEXT: &str = "content-type: text/plain\r\n";

async fn echo() -> Server {
    Server::start(|seen| Reply::Stays(answer("200 OK", TEXT, &String::from_utf8_lossy(&seen.body)))).await
}

/// What a run's journal says, if it left one.
async fn journal(node: &TestNode, app: AppId, invocation: InvocationId) -> Option<Value> {
    let events = node.left_by(invocation).await;
    let sealed = events.iter().find_map(|recorded| match &recorded.event.event {
        Event::InvocationJournaled(journaled) => Some(&journaled.recording),
        _ => None,
    })?;
    let key = node.keyring.app(app).await.unwrap();
    let plain = key.open(Purpose::Recording, format!("{invocation}/journal").as_bytes(), sealed).unwrap();
    Some(serde_json::from_slice(&plain).unwrap())
}

/// The value of a key of the collection `c` changes.
fn set(key: &str, value: &str) -> Event {
    let value = RawValue::from_string(value.to_owned()).unwrap();
    kv::Set { collection: "c".into(), key: key.into(), value, expires_at: None }.into()
}

/// Runs a call whose first call outside is answered only after somebody else has set the key `n` to 7.
async fn overtaken(node: &TestNode, call: Call) -> (Server, Result<Finished, Unavailable>) {
    let app = call.program.app;
    let (told, is_first) = (Arc::new(Notify::new()), AtomicBool::new(true));
    let wait = Arc::clone(&told);
    let server = Server::start(move |_| {
        let sent = answer("200 OK", TEXT, "sent");
        if is_first.swap(false, Ordering::Relaxed) { Reply::Waits(Arc::clone(&wait), sent) } else { Reply::Stays(sent) }
    })
    .await;
    let source = call.program.source.replace("URL", &server.url("/"));
    let program = program_within(app, &source, call.program.limits);
    let run = node.runner.invoke(Call { program, ..call });
    soon(server.was_asked(1)).await;
    node.append(app, vec![set("n", "7")]).await;
    told.notify_one();
    let ended = soon(run).await;
    (server, ended)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_call_is_made_and_its_answer_is_there(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let server = Server::saying(answer("201 Created", JSON, r#"{"id": 7}"#)).await;
    let source = format!(r#"let r = http::post("{}", #{{n: 1}}); [r.status, r.body.id]"#, server.url("/things"));
    let call = call(app, &source);
    let invocation = call.invocation;
    assert_eq!(json(node.invoke(call).await), json!([201, 7]));

    let [seen] = &server.seen()[..] else { panic!("one call") };
    assert_eq!((seen.path(), &seen.body[..]), ("/things", &br#"{"n":1}"#[..]));
    assert_eq!(seen.header("idempotency-key"), Some(&*format!("{invocation}-1")));
    assert_eq!(seen.header("x-picloud-hops"), Some("1"));
    let events = node.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.journaled", "invocation.completed"]);
    let journal = journal(&node, app, invocation).await.unwrap();
    assert_eq!((&journal[0]["http"]["status"], &journal[0]["http"]["body"]), (&json!(201), &json!(r#"{"id": 7}"#)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_of_the_scripts_own_goes_out_as_it_is(database: PgPool) {
    let node = node(&database).await;
    let server = echo().await;
    let source = format!(
        r#"let u = "{}"; http::get(u, #{{headers: #{{"Idempotency-Key": "mine"}}}}); http::get(u).status"#,
        server.url("/")
    );
    let call = call(AppId::generate(), &source);
    let second = format!("{}-2", call.invocation);
    assert_eq!(json(node.invoke(call).await), 200);
    let keys: Vec<_> = server.seen().iter().map(|seen| seen.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["mine".to_owned(), second]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_is_called_before_the_log_knows_that_the_run_began(database: PgPool) {
    let node = node(&database).await;
    let server = echo().await;
    let held = lock_log(&node.pool).await;
    let end = node.invoke(call(AppId::generate(), &format!(r#"http::get("{}").status"#, server.url("/")))).await;
    assert_eq!(end.expect_err("the log is away"), Unavailable::Log);
    assert_eq!(server.connections(), 0);
    held.rollback().await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_is_repeated_gets_the_answer_it_got(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let call =
        call(app, r#"let n = c.get_or("n", 0); let r = http::post("URL", "x"); c.set("m", `${n} ${r.body}`); n"#);
    let invocation = call.invocation;
    let (server, ended) = overtaken(&node, call).await;
    assert_eq!(json(ended), 7);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(node.value(app, "m").await.as_deref(), Some(r#""7 sent""#));
    assert_eq!(runs_of(&node.left_by(invocation).await), 2);
    assert_eq!(journal(&node, app, invocation).await.unwrap()[1]["http"]["body"], "sent");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_would_now_call_differently_ends_as_a_conflict(database: PgPool) {
    let node = node(&database).await;
    for (source, says) in [
        (r#"let n = c.get_or("n", 0); http::post("URL", `${n}`); c.set("m", n)"#, "its call 1 was POST"),
        (r#"if c.get_or("n", 0) == 0 { http::post("URL", "x"); } c.set("m", 1)"#, "would make 0 now"),
    ] {
        let app = AppId::generate();
        let call = call(app, source);
        let invocation = call.invocation;
        let (server, ended) = overtaken(&node, call).await;
        let failure = crate::support::failed(ended);
        assert_eq!(failure.reason, FailureReason::Conflict, "{failure:?}");
        assert!(failure.message.contains(says), "{}", failure.message);
        assert_eq!(server.seen().len(), 1, "{source}");
        let events = node.left_by(invocation).await;
        assert_eq!(kinds(&events), ["invocation.started", "invocation.journaled", "invocation.failed"]);
        assert_eq!((failure_in(&events).reason, failure_in(&events).runs), (FailureReason::Conflict, 2));
        assert_eq!(node.value(app, "m").await, None);
        // What was called is told of all the same.
        let journal = journal(&node, app, invocation).await.unwrap();
        let calls = journal.as_array().unwrap().iter().filter(|entry| entry.get("http").is_some());
        assert_eq!(calls.count(), 1, "{journal}");
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_read_is_looked_at_before_a_call(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    // Overtaken during its first call; what it reads before its second is old, and no reason by itself to look again.
    node.append(app, vec![set("m", "1")]).await;
    let source = r#"let n = c.get_or("n", 0); http::post("URL", "x"); c.get("m"); http::post("URL", `${n}`); n"#;
    let call = call(app, source);
    let invocation = call.invocation;
    let (server, ended) = overtaken(&node, call).await;
    assert_eq!(json(ended), 7);
    let bodies: Vec<_> = server.seen().iter().map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect();
    assert_eq!(bodies, ["x", "7"], "0 was never sent");
    assert_eq!(runs_of(&node.left_by(invocation).await), 2);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_short_script_that_calls_is_run_whole_and_calls_once(database: PgPool) {
    let node = node(&database).await;
    let server = echo().await;
    let program = program(AppId::generate(), &format!(r#"#{{said: http::post("{}", "x").body}}"#, server.url("/")));
    for times in 1..=3 {
        assert_eq!(json(node.invoke(call_of(&program)).await), json!({"said": "x"}));
        assert_eq!(server.seen().len(), times);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn others_compute_while_a_call_is_waited_for(database: PgPool) {
    let node = Cluster::new(&database).node_with(Settings { permits: 1, ..Settings::default() }).await;
    let app = AppId::generate();
    let told = Arc::new(Notify::new());
    let wait = Arc::clone(&told);
    let server = Server::start(move |_| Reply::Waits(Arc::clone(&wait), answer("200 OK", "", "late"))).await;
    let waits = node.runner.invoke(call(app, &format!(r#"http::get("{}").status"#, server.url("/"))));
    soon(server.was_asked(1)).await;
    assert_eq!(node.run(app, "let x = 0; for i in 0..5000 { x += 1; } x").await, 5000);
    told.notify_one();
    assert_eq!(json(soon(waits).await), 200);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_does_not_wait_past_its_time_and_the_call_is_told_of(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let server = Server::start(|_| Reply::Hangs(Vec::new())).await;
    let limits = Limits { timeout_ms: 400, ..Limits::DEFAULT };
    let source = format!(r#"try {{ http::get("{}"); }} catch {{ }} "caught""#, server.url("/"));
    let call = call_of(&program_within(app, &source, limits));
    let invocation = call.invocation;
    let began = Instant::now();
    let failure = node.fail(call).await;
    assert_eq!((failure.reason, failure.limit), (FailureReason::TimedOut, Some("timeout_ms")));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let journal = journal(&node, app, invocation).await.unwrap();
    assert_eq!(journal[0]["http"]["error"], "the run's time was up before it was answered");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_call_with_a_time_of_its_own_is_given_up_and_the_run_goes_on(database: PgPool) {
    let node = node(&database).await;
    let server = Server::start(|_| Reply::Hangs(Vec::new())).await;
    let url = server.url("/slow?key=secret");
    let source = format!(r#"try {{ http::get("{url}", #{{timeout_ms: 50}}); }} catch (e) {{ return e; }}"#);
    let thrown = node.run(AppId::generate(), &source).await;
    assert_eq!(thrown, format!("http::get: GET {}: it took longer than 50 ms", server.url("/slow")));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn calls_of_scripts_to_scripts_come_to_an_end(database: PgPool) {
    let node = node(&database).await;
    let server = echo().await;
    let source = format!(r#"try {{ http::get("{}").status }} catch (e) {{ return e; }}"#, server.url("/"));
    let asked = async |said: &[&str]| {
        let mut call = call(AppId::generate(), &source);
        for hops in said {
            call.request.headers.push(("x-picloud-hops".into(), (*hops).into()));
        }
        json(node.invoke(call).await)
    };
    asked(&["3"]).await;
    asked(&["7", "2"]).await;
    let hops: Vec<_> = server.seen().iter().map(|seen| seen.header("x-picloud-hops").unwrap().to_owned()).collect();
    assert_eq!(hops, ["4", "8"]);
    for said in [&["8"][..], &["200"], &["what"], &["1", "8"]] {
        let thrown = asked(said).await;
        let says = "8 calls of scripts to scripts wait for each other already";
        assert!(thrown.as_str().is_some_and(|thrown| thrown.contains(says)), "{said:?}: {thrown}");
    }
    assert_eq!(server.seen().len(), 2);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_calls_take_is_counted_once_and_not_forgotten(database: PgPool) {
    let node = node(&database).await;
    let server = Server::saying(answer("200 OK", "", &"y".repeat(100_000))).await;
    let limits = Limits { max_memory_bytes: 8 * 1024 * 1024, ..Limits::DEFAULT };
    // Thirty times 400 kB go out, which is more than it may have at once, and 3 MB come back.
    let calls =
        format!(r#"let x = ""; x.pad(400_000, "x"); for i in 0..30 {{ http::post("{}", x + i); }}"#, server.url("/"));
    let app = AppId::generate();
    let program = |source: String| program_within(app, &source, limits);
    assert_eq!(json(node.invoke(call_of(&program(format!("{calls} 1")))).await), 1);
    // And after that it may have as much as ever, and not what others have freed as well.
    let takes = |megabytes: usize| {
        format!("{calls} let all = []; for i in 0..{megabytes} {{ all.push(blob(1_000_000, 7)); }} 1")
    };
    assert_eq!(json(node.invoke(call_of(&program(takes(6)))).await), 1);
    let failure = node.fail(call_of(&program(takes(9)))).await;
    assert_eq!(failure.reason, FailureReason::OverMemory, "{failure:?}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_answer_longer_than_a_blob_may_be_is_thrown(database: PgPool) {
    let node = node(&database).await;
    let server = Server::saying(answer("200 OK", "", &"y".repeat(2000))).await;
    let limits = Limits { max_string_bytes: 1000, ..Limits::DEFAULT };
    let source = format!(r#"try {{ http::get("{}"); }} catch (e) {{ return e; }}"#, server.url("/"));
    let thrown = json(node.invoke(call_of(&program_within(AppId::generate(), &source, limits))).await);
    assert!(thrown.as_str().is_some_and(|thrown| thrown.ends_with("the answer is longer than 1000 bytes")), "{thrown}");
    node.stop().await;
}
