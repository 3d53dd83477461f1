//! As much as there can be of something, and more: a thousand routes, more callers than may wait, more bytes than there is
//! room for.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    app,
    eventually::eventually,
    home::Home,
    service::{Service, Start},
};

#[tokio::test]
async fn a_thousand_routes_are_deployed_in_one_go_and_each_leads_where_it_says() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let mut manifest =
        "app = \"many\"\nhosts = [\"many.localhost\"]\n\n[[script]]\nname = \"which\"\nroutes = [\n".to_owned();
    for number in 0..1000 {
        // One more specific than the other, so that there is something to tell apart.
        let path = if number % 2 == 0 { "fixed" } else { ":any" };
        writeln!(manifest, "  \"GET /{}/{path}/{}\",", number / 100, number / 2).unwrap();
    }
    manifest += "]\n";
    home.write("many/picloud.toml", &manifest);
    home.write("many/which.rhai", r#"ctx.request.params.any ?? "fixed""#);
    home.picloud(&["deploy", "many"]).await;
    for number in 0..500 {
        let prefix = format!("/{}", number / 50);
        assert_eq!(
            service.get("many.localhost", &format!("{prefix}/fixed/{number}")).await,
            (StatusCode::OK, "\"fixed\"".to_owned())
        );
        assert_eq!(
            service.get("many.localhost", &format!("{prefix}/other/{number}")).await,
            (StatusCode::OK, "\"other\"".to_owned())
        );
    }
    assert_eq!(service.get("many.localhost", "/0/fixed/499").await.0, StatusCode::NOT_FOUND);

    let again = home.picloud(&["deploy", "many"]).await;
    assert!(again.contains("Nothing to change"), "{again}");
    service.stop().await;
}

/// Computes for some tens of milliseconds.
const SLOW: &str = "let n = 0; loop { n += 1; if n > 20_000 { break; } } ctx.request.body_raw.len()";

#[tokio::test]
async fn more_callers_than_may_wait_are_told_so_and_take_no_more_memory_than_they_may() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let app = app::write(&home, "slow", &[("slow", "POST /slow", SLOW), ("quick", "GET /quick", "1")]);
    home.picloud(&["deploy", &app]).await;
    let before = service.resident_mib();
    // Each caller has a connection.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let body: &[u8] = vec![b'x'; 512 << 10].leak();

    // 2 000 bodies of half a MiB are a GiB: neither as many runs nor as many bytes may wait.
    let answers = Arc::new(Mutex::new(BTreeMap::<(StatusCode, String), usize>::new()));
    let mut callers = JoinSet::new();
    for _ in 0..2000 {
        let call = service.call(Method::POST, "slow.localhost", "/slow").body(body);
        let answers = Arc::clone(&answers);
        callers.spawn(async move {
            let Ok(answer) = call.send().await else { return };
            let status = answer.status();
            let problem = answer.json::<Value>().await.ok().and_then(|body| Some(body["type"].as_str()?.to_owned()));
            *answers.lock().unwrap().entry((status, problem.unwrap_or_default())).or_default() += 1;
        });
    }
    let full = (StatusCode::SERVICE_UNAVAILABLE, "/problems/queue-full".to_owned());
    eventually("some are told that too many wait", || async {
        answers.lock().unwrap().get(&full).is_some_and(|count| *count >= 500).then_some(())
    })
    .await;
    let peak = service.resident_mib();
    assert!(
        peak - before < 800.0,
        "{before} MiB before, {peak} MiB with all of them there: less than the bodies alone"
    );
    // Whoever wants little of another script of the app waits behind the others; the operators do not.
    let instance = timeout(Duration::from_secs(10), service.admin("/instance")).await;
    assert!(instance.is_ok(), "the control plane answers meanwhile");

    // They go away; what has begun ends, and then there is room again.
    callers.abort_all();
    while callers.join_next().await.is_some() {}
    let seen = answers.lock().unwrap().clone();
    assert!(seen.keys().all(|key| key.0 == StatusCode::OK || *key == full), "{seen:?}");
    eventually("it serves as before", || async {
        // A connection that is used again may be one that the service has just closed.
        let answer = service.call(Method::GET, "slow.localhost", "/quick").send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK).then_some(())
    })
    .await;
    service.stop().await;
}

impl Service {
    /// Memory of its process, in MiB.
    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}
