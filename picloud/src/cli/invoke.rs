//! `picloud invoke`: a run to try a script out, with its log.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use picloud_core::run::{LogLevel, LogLine};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Output,
    args::{Global, Invoke},
    path,
    print::{self, BAD, GOOD, QUIET},
};
use crate::{failure::Failure, problem::Problem};

/// The request that the script sees.
#[derive(Debug, Default, Serialize)]
struct Input {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Vec<String>>,
    #[serde(flatten)]
    body: Option<Body>,
}

#[derive(Debug, Serialize)]
enum Body {
    #[serde(rename = "body")]
    Json(Box<RawValue>),
    #[serde(rename = "body_text")]
    Text(String),
    #[serde(rename = "body_base64")]
    Bytes(String),
}

/// What came of it.
#[derive(Debug, Deserialize)]
struct Outcome {
    answer: Option<Answer>,
    error: Option<Problem>,
    #[serde(default)]
    logs: Vec<LogLine>,
    duration_us: u64,
    operations: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<Box<RawValue>>,
    body_text: Option<String>,
    body_base64: Option<String>,
}

/// Runs it. The answer's body goes to stdout, all about it to stderr; a run that failed is a failure.
pub(super) async fn run(global: &Global, arguments: &Invoke) -> Result<(), Failure> {
    let input = input(arguments)?;
    let client = global.client()?;
    let to = path::admin(&["apps", &arguments.in_app.app, "scripts", &arguments.script, "invoke"]);
    let told: Box<RawValue> = client.send_json(Method::POST, &to, &input).await?;
    let outcome: Outcome = serde_json::from_str(told.get())
        .map_err(|error| Failure::failed(format!("the server's answer is not understood: {error}")))?;
    match global.output {
        Output::Json => print::text(&format!("{}\n", told.get())),
        Output::Table => show(&outcome)?,
    }
    match outcome.error {
        Some(problem) => Err(Failure::refused(problem)),
        None => Ok(()),
    }
}

fn show(outcome: &Outcome) -> Result<(), Failure> {
    for line in &outcome.logs {
        print::aside(&log_line(line));
    }
    let took = format!("{:.1} ms, {} operations", outcome.duration_us as f64 / 1000.0, outcome.operations);
    let Some(answer) = &outcome.answer else {
        print::aside(&format!("{BAD}failed{BAD:#} {QUIET}{took}{QUIET:#}\n"));
        return Ok(());
    };
    let style = if answer.status < 400 { GOOD } else { BAD };
    print::aside(&format!("{style}{}{style:#} {QUIET}{took}{QUIET:#}\n", answer.status));
    for (name, value) in &answer.headers {
        print::aside(&format!("{QUIET}{name}: {value}{QUIET:#}\n"));
    }
    // Bytes as they are, for a pipe.
    let mut body = body_of(answer)?;
    if answer.body_base64.is_none() && !body.is_empty() && !body.ends_with(b"\n") {
        body.push(b'\n');
    }
    match io::stdout().write_all(&body) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error.to_string())),
        _ => Ok(()),
    }
}

fn body_of(answer: &Answer) -> Result<Vec<u8>, Failure> {
    if let Some(json) = &answer.body {
        return Ok(json.get().as_bytes().to_vec());
    }
    match (&answer.body_text, &answer.body_base64) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(coded)) => BASE64_STANDARD
            .decode(coded)
            .map_err(|error| Failure::failed(format!("the server's answer is not understood: {error}"))),
        (None, None) => Ok(Vec::new()),
    }
}

fn log_line(line: &LogLine) -> String {
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let data = line.data.as_ref().map(|data| format!(" {}", data.get())).unwrap_or_default();
    format!("{QUIET}{level:5}{QUIET:#} {}{QUIET}{data}{QUIET:#}\n", line.message)
}

fn input(arguments: &Invoke) -> Result<Input, Failure> {
    let body = arguments.data.as_deref().map(body).transpose()?;
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in &arguments.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("header `{header}`: expected `name: value`")))?;
        headers.entry(name.trim().to_ascii_lowercase()).or_default().push(value.trim().to_owned());
    }
    let (path, query) = match &arguments.path {
        Some(path) => split(path)?,
        None => (None, BTreeMap::new()),
    };
    let usual = if body.is_some() { "POST" } else { "GET" };
    let method = arguments.method.as_deref().unwrap_or(usual).to_ascii_uppercase();
    Ok(Input { method: Some(method), path, query, headers, body })
}

/// A path and its query's decoded pairs.
#[expect(clippy::type_complexity, reason = "it is taken apart where it is returned")]
fn split(path: &str) -> Result<(Option<String>, BTreeMap<String, Vec<String>>), Failure> {
    if !path.starts_with('/') {
        return Err(Failure::usage(format!("path `{path}`: expected one that begins with a slash")));
    }
    let url = Url::parse(&format!("http://script{path}"))
        .map_err(|error| Failure::usage(format!("path `{path}`: {error}")))?;
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let path = path.split(['?', '#']).next().unwrap_or(path);
    Ok((Some(path.to_owned()), query))
}

/// JSON where it is JSON, text where it is text.
fn body(data: &str) -> Result<Body, Failure> {
    let bytes = match data.strip_prefix('@') {
        None => data.as_bytes().to_vec(),
        Some("-") => {
            let mut all = Vec::new();
            io::stdin()
                .read_to_end(&mut all)
                .map_err(|error| Failure::failed(format!("failed to read stdin: {error}")))?;
            all
        }
        Some(file) => std::fs::read(file).map_err(|error| Failure::usage(format!("failed to read {file}: {error}")))?,
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match serde_json::from_str(&text) {
            Ok(json) => Body::Json(json),
            Err(_) => Body::Text(text),
        }),
        Err(binary) => Ok(Body::Bytes(BASE64_STANDARD.encode(binary.into_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::InApp;

    fn invoke(data: Option<&str>, path: Option<&str>, headers: &[&str]) -> String {
        let arguments = Invoke {
            script: "greet".to_owned(),
            in_app: InApp { app: "default".to_owned() },
            data: data.map(str::to_owned),
            method: None,
            path: path.map(str::to_owned),
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
        };
        input(&arguments).map_or_else(|failure| failure.to_string(), |input| serde_json::to_string(&input).unwrap())
    }

    #[test]
    fn what_was_typed_becomes_the_request() {
        let all = [
            invoke(None, None, &[]),
            invoke(Some(r#"{"n": 12345678901234567890}"#), None, &[]),
            invoke(Some("plain"), Some("/a%20b?x=1&x=2&y=%C3%BC"), &["Accept: text/html", "accept: */*"]),
            invoke(None, Some("a"), &[]),
            invoke(None, None, &["accept"]),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        {"method":"GET"}
        {"method":"POST","body":{"n": 12345678901234567890}}
        {"method":"POST","path":"/a%20b","query":{"x":["1","2"],"y":["ü"]},"headers":{"accept":["text/html","*/*"]},"body_text":"plain"}
        path `a`: expected one that begins with a slash
        header `accept`: expected `name: value`
        "#);
    }

    #[test]
    fn bytes_that_are_no_text_are_sent_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        std::fs::write(&file, [0xff, 0x00]).unwrap();
        let sent = invoke(Some(&format!("@{}", file.display())), None, &[]);
        assert_eq!(sent, r#"{"method":"POST","body_base64":"/wA="}"#);
    }
}
