//! The binary as a shell sees it.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    thread::{self, JoinHandle},
};

use serde_json::Value;

fn picloud(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picloud"));
    for variable in ["PICLOUD_URL", "PICLOUD_KEY", "PICLOUD_CONFIG", "DATABASE_URL"] {
        command.env_remove(variable);
    }
    command.env("PICLOUD_DATA_DIR", dir.join("data")).current_dir(dir).args(arguments).output().unwrap()
}

/// The exit code, and the problem on stderr.
fn refused(dir: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = picloud(dir, &[arguments, &["--output", "json"]].concat());
    let told = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("no problem: {output:?}"));
    (output.status.code().unwrap(), told)
}

#[test]
fn wrong_usage_is_told_as_a_problem_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["srve"][..], &["serve", "--lissen", "x"], &["serve", "--listen", "x"], &["completions", "sh"]] {
        let (code, problem) = refused(dir.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert_eq!(problem["type"], "/problems/usage", "{arguments:?}");
    }
    fs::write(dir.path().join("picloud-server.toml"), "lisen = 'x'\n").unwrap();
    let (code, problem) = refused(dir.path(), &["serve"]);
    assert_eq!(code, 2);
    let told = "picloud-server.toml sets `lisen`, which is not a setting (did you mean `listen`?)";
    assert_eq!(problem["detail"], told);
}

#[test]
fn print_config_shows_the_file_of_the_folder_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("picloud-server.toml"), "public_url = 'https://pi.example.com'\n").unwrap();
    let output = picloud(dir.path(), &["serve", "--print-config", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = page["items"].as_array().unwrap().iter().find(|row| row["key"] == "public_url").unwrap();
    assert_eq!(row["value"], "https://pi.example.com");
    assert_eq!(row["from"], "public_url in picloud-server.toml");
    assert!(!dir.path().join("data").exists(), "showing makes nothing");
}

#[test]
fn the_doctor_finds_no_server_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = picloud(dir.path(), &["doctor", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = page["items"].as_array().unwrap().iter().find(|check| check["check"] == "server").unwrap();
    assert_eq!(server["ok"], false);
    assert!(server["next"].as_str().unwrap().contains("picloud serve"), "{server}");
}

#[test]
fn every_shell_gets_completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = picloud(dir.path(), &["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("print-config"), "{shell}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--help", "--version"] {
        assert!(picloud(dir.path(), &[flag]).status.success());
    }
}

/// A control plane that knows one answer: its URL, and what it was asked, line and body.
fn server(status: &str, content_type: &str, body: &str) -> (String, JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer(status, content_type, body);
    (url, thread::spawn(move || answer_one(&listener, &answer)))
}

/// One that knows the pages of a list, in their order: its URL, and the lines it was asked.
fn server_of_pages(pages: &[&str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<String> = pages.iter().map(|page| answer("200 OK", "application/json", page)).collect();
    (url, thread::spawn(move || answers.iter().map(|answer| answer_one(&listener, answer).0).collect()))
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn answer_one(listener: &TcpListener, answer: &str) -> (String, Value) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    (line.trim().to_owned(), serde_json::from_slice(&body).unwrap_or_default())
}

#[test]
fn deploying_a_script_sends_it_with_its_route_and_shows_where_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("greet.rhai"), "\"hi\"").unwrap();
    let difference = r#"{"changes":[{"action":"create","kind":"script","name":"greet","detail":"version 1"}],
        "diagnostics":[],"urls":["http://localhost:8080/greet"]}"#;
    let (url, asked) = server("200 OK", "application/json", difference);
    let output = picloud(dir.path(), &["deploy", "greet.rhai", "--url", &url, "-m", "first"]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown, "+ script greet version 1\nhttp://localhost:8080/greet\n");
    let (line, sent) = asked.join().unwrap();
    assert_eq!(line, "POST /api/v1/admin/apps/default/deploy HTTP/1.1");
    assert_eq!(sent["scripts"][0]["source"], "\"hi\"");
    assert_eq!(sent["scripts"][0]["message"], "first");
    // For a script that has no route yet: one that has keeps it.
    assert_eq!(sent["scripts"][0]["routes"], Value::Array(Vec::new()));
    assert_eq!(sent["scripts"][0]["default_routes"][0]["path"], "/greet");
    assert_eq!(sent.get("env"), None, "a bare script says nothing of the app's values");
}

#[test]
fn a_source_that_is_refused_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("greet.rhai"), "let a = ;\n").unwrap();
    let problem = r#"{"type":"/problems/invalid-script","title":"Script refused","status":422,"detail":"`greet` has 1 error",
        "diagnostics":[{"script":"greet","severity":"error","line":1,"column":9,"message":"expected an expression"}]}"#;
    let (url, _) = server("422 Unprocessable Content", "application/problem+json", problem);
    let output = picloud(dir.path(), &["deploy", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r#"
    error: expected an expression
     --> greet.rhai:1:9
      |
    1 | let a = ;
      |         ^
    error: nothing was deployed
    "#);

    let (url, _) = server("422 Unprocessable Content", "application/problem+json", problem);
    let (code, told) = refused(dir.path(), &["deploy", "--url", &url]);
    assert_eq!((code, &told["diagnostics"][0]["column"]), (1, &Value::from(9)));
}

#[test]
fn a_run_that_failed_is_a_failure_and_its_log_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = r#"{"invocation":"inv_1","logs":[{"level":"warn","after_us":5,"message":"odd","data":{"n":1}}],
        "duration_us":1500,"operations":12,
        "error":{"type":"/problems/script-threw","title":"Script failed","status":500,"detail":"boom (line 1)"}}"#;
    let (url, asked) = server("200 OK", "application/json", outcome);
    let output = picloud(dir.path(), &["invoke", "greet", "--data", r#"{"a":1}"#, "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "warn  odd {\"n\":1}\nfailed 1.5 ms, 12 operations\nerror: boom (line 1)\n");
    let (line, sent) = asked.join().unwrap();
    assert_eq!(line, "POST /api/v1/admin/apps/default/scripts/greet/invoke HTTP/1.1");
    assert_eq!(sent["body"]["a"], 1);
}

#[test]
fn a_list_is_one_object_for_programs_and_a_table_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let page = r#"{"items":[{"name":"currency","value":"EUR"}],"cursor":null}"#;
    let (url, _) = server("200 OK", "application/json", page);
    let output = picloud(dir.path(), &["env", "ls", "--url", &url, "--output", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), serde_json::from_str::<Value>(page).unwrap());
    let (url, _) = server("200 OK", "application/json", page);
    let output = picloud(dir.path(), &["env", "ls", "--url", &url]);
    let lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(lines, ["NAME      VALUE", "currency  EUR"]);
}

#[test]
fn logs_are_shown_oldest_first_with_failures_and_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let page = r#"{"items":[
        {"time":"2026-01-02T03:04:06.543210Z","level":"error","script_name":"greet","message":"boom","reason":"threw","line":2},
        {"time":"2026-01-02T03:04:05.678901Z","level":"info","script_name":"greet","message":"hello","data":{"n":1}}],
        "cursor":null}"#;
    let (url, asked) = server("200 OK", "application/json", page);
    let output = picloud(dir.path(), &["logs", "--script", "greet", "--level", "info", "-n", "2", "--url", &url]);
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r#"
    03:04:05.678 info  greet  hello {"n":1}
    03:04:06.543 error greet  threw: boom (line 2)
    "#);
    let asked = asked.join().unwrap().0;
    assert_eq!(asked, "GET /api/v1/admin/apps/default/logs?script=greet&level=info&limit=2 HTTP/1.1");

    let (url, _) = server("200 OK", "application/json", page);
    let output = picloud(dir.path(), &["logs", "-n", "1", "--output", "json", "--url", &url]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1, "the newest alone: {lines}");
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap()["reason"], "threw");
}

/// A page of a search that took long, and found nothing yet.
const CUT: &str = r#"{"items":[],"cursor":"c1","searched_to":"2026-03-01T12:34:00.000000Z"}"#;

#[test]
fn a_search_that_took_long_says_how_far_it_got_and_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = r#"{"id":"inv_1","started_at":"2026-03-01T12:00:00Z","script_name":"greet","status":"ok"}"#;
    let cut = format!(r#"{{"items":[{run}],"cursor":"c1","searched_to":"2026-03-01T12:34:00.000000Z"}}"#);
    let told = "searched back to 2026-03-01T12:34:00.000000Z, which took long; go on with --cursor c1\n";
    for (command, page) in [
        (&["events", "--actor", "key_1"][..], CUT),
        (&["history", "kv:c/k"], CUT),
        (&["invocations", "ls", "--search", "order"], &cut),
        (&["invocations", "ls", "--search", "order", "--output", "json"], &cut),
    ] {
        let (url, _) = server_of_pages(&[page]);
        let output = picloud(dir.path(), &[command, &["--url", &url]].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), told, "{command:?}");
    }
    // What there is so far is shown, for programs with the cursor; and that is gone on with.
    let (url, asked) = server_of_pages(&[&cut]);
    let arguments = ["invocations", "ls", "--search", "order", "--cursor", "c0", "--output", "json", "--url", &url];
    let shown: Value = serde_json::from_slice(&picloud(dir.path(), &arguments).stdout).unwrap();
    assert_eq!((&shown["items"][0]["id"], &shown["cursor"]), (&"inv_1".into(), &"c1".into()));
    let asked = asked.join().unwrap();
    assert_eq!(asked, ["GET /api/v1/admin/apps/default/invocations?q=order&limit=20&cursor=c0 HTTP/1.1"]);
}

#[test]
fn an_export_goes_on_behind_a_page_in_which_nothing_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let event = r#"{"specversion":"1.0","id":"evt_1","cursor":"e1"}"#;
    let found = format!(r#"{{"items":[{event}],"cursor":"c2","searched_to":"2026-03-01T12:35:00.000000Z"}}"#);
    let (url, asked) = server_of_pages(&[CUT, &found, r#"{"items":[],"cursor":null,"searched_to":null}"#]);
    let output = picloud(dir.path(), &["events", "--kind", "mail", "--to", "all.ndjson", "--url", &url]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(dir.path().join("all.ndjson")).unwrap(), format!("{event}\n"));
    let after = ["", "&after=c1", "&after=c2"];
    let page = |after| format!("GET /api/v1/admin/events?kind=mail&order=asc&limit=1000{after} HTTP/1.1");
    assert_eq!(asked.join().unwrap(), after.map(page));
}

#[test]
fn events_are_printed_as_they_come_one_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let events = "id: c1\ndata: {\"type\":\"kv.set\",\"subject\":\"kv:a/b\"}\n\nevent: up-to-date\ndata: {}\n\n";
    let (url, asked) = server("200 OK", "text/event-stream", events);
    let mut command = Command::new(env!("CARGO_BIN_EXE_picloud"));
    command.args(["events", "-f", "--app", "default", "--kind", "kv.set", "--output", "json", "--url", &url]);
    command.env("PICLOUD_DATA_DIR", dir.path()).current_dir(dir.path()).env_remove("DATABASE_URL");
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "{\"type\":\"kv.set\",\"subject\":\"kv:a/b\"}\n");
    assert_eq!(asked.join().unwrap().0, "GET /api/v1/admin/apps/default/events/stream?kind=kv.set HTTP/1.1");
}
