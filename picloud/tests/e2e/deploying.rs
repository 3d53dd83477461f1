//! From a file in an editor to an answer.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use reqwest::StatusCode;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{app, eventually::eventually, home::Home, service::Start, shared_database::SharedDatabase};

#[tokio::test]
async fn what_is_saved_while_dev_watches_is_live_and_a_mistake_changes_nothing() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = app::write(&home, "greeter", &[("greet", "GET /", "`one`")]);
    let mut dev = Command::from({
        let mut command = home.command();
        command.args(["dev", &folder]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    })
    .kill_on_drop(true)
    .spawn()
    .unwrap();
    let answers = async |wanted: &str| {
        eventually(wanted, || async {
            let (status, body) = service.get("greeter.localhost", "/").await;
            (status == StatusCode::OK && body == format!("\"{wanted}\"")).then_some(())
        })
        .await;
    };
    answers("one").await;
    home.write("greeter/greet.rhai", "`two`");
    answers("two").await;
    // Refused with its place; what was live stays so. The next save shows that the watch goes on.
    home.write("greeter/greet.rhai", "let x = nosuch();");
    let refused = home.run(&["deploy", &folder]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("nosuch") && told.contains("greet.rhai:1:9"), "{told}");
    answers("two").await;
    home.write("greeter/greet.rhai", "`three`");
    answers("three").await;
    dev.kill().await.unwrap();

    let events = home.picloud(&["events", "--output", "json", "--kind", "script.deployed"]).await;
    assert_eq!(events.lines().count(), 3, "one version a source:\n{events}");
    service.stop().await;
}

#[tokio::test]
async fn what_happens_is_seen_live_and_looked_up_later() {
    let home = Arc::new(Home::new());
    let database = SharedDatabase::new().await;
    let service = Start::new(&home).with("DATABASE_URL", database.url()).ready().await;
    let source = r#"log::info("greeted", #{ name: ctx.request.params.name }); if ctx.request.params.name == "Eve" { throw "no" } 1"#;
    let folder = app::write(&home, "talker", &[("greet", "GET /:name", source)]);
    home.picloud(&["deploy", &folder]).await;
    let logs = follow(&home, &["logs", "-f", "--app", "talker", "--output", "json"]);
    let events = follow(&home, &["events", "-f", "--app", "talker", "--kind", "invocation.failed", "--output", "json"]);

    // Until both follow: what was before a `-f` is not all told.
    let seen = |lines: &Lines, part: &str| lines.lock().unwrap().iter().any(|line| line.contains(part));
    eventually("what happens is followed", || async {
        assert_eq!(service.get("talker.localhost", "/Eve").await.0, StatusCode::INTERNAL_SERVER_ERROR);
        (seen(&logs.lines, "greeted") && seen(&events.lines, "invocation.failed")).then_some(())
    })
    .await;
    assert_eq!(service.get("talker.localhost", "/Ada").await.0, StatusCode::OK);
    eventually("Ada's line comes", || async { seen(&logs.lines, "Ada").then_some(()) }).await;
    assert!(!seen(&events.lines, "invocation.completed"), "only what was asked for");

    let later = home.picloud(&["logs", "--app", "talker"]).await;
    assert!(later.lines().last().unwrap().contains("Ada"), "newest last:\n{later}");
    service.stop().await;
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A command that goes on, and what it has printed so far; ended when it is dropped.
struct Following {
    _command: tokio::process::Child,
    lines: Lines,
}

fn follow(home: &Home, arguments: &[&str]) -> Following {
    let mut command = home.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut command = Command::from(command).kill_on_drop(true).spawn().unwrap();
    let lines = Lines::default();
    let (mut printed, seen) = (BufReader::new(command.stdout.take().unwrap()).lines(), Arc::clone(&lines));
    // It ends with the command's output.
    tokio::spawn(async move {
        while let Ok(Some(line)) = printed.next_line().await {
            seen.lock().unwrap().push(line);
        }
    });
    Following { _command: command, lines }
}
