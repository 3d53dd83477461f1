//! `/metrics`, as Prometheus reads it.

use std::{fs, path::Path, sync::Arc};

use reqwest::{Method, StatusCode};

use crate::{
    app,
    eventually::eventually,
    home::Home,
    service::{Service, Start, client},
};

async fn metrics(service: &Service) -> String {
    let answer = client().get(format!("{}/metrics", service.admin)).bearer_auth(service.key()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    answer.text().await.unwrap()
}

/// The value of a sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn what_happens_and_how_things_stand_is_told_to_prometheus() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let fails = "throw \"no\"";
    let shop = app::write(&home, "shop", &[("greet", "GET /greet", "\"hello\""), ("fail", "GET /fail", fails)]);
    home.picloud(&["deploy", &shop]).await;
    for path in ["/greet", "/greet", "/fail"] {
        service.call(Method::GET, "shop.localhost", path).send().await.unwrap();
    }
    let open = client().get(format!("{}/metrics", service.admin)).send().await.unwrap();
    assert_eq!(open.status(), StatusCode::UNAUTHORIZED, "traffic is nobody's business");

    let text = eventually("runs are counted, and sealed", async || {
        let text = metrics(&service).await;
        let sealed = sample(&text, "picloud_sealed_position")?;
        let counted = sample(&text, "picloud_run_duration_seconds_count") == Some(3.0);
        (counted && sealed + 1.0 >= sample(&text, "picloud_log_position")?).then_some(text)
    })
    .await;
    for (name, value) in [
        ("picloud_runs_total{outcome=\"completed\"}", 2.0),
        ("picloud_runs_total{outcome=\"threw\"}", 1.0),
        ("picloud_events_total{kind=\"invocation.started\"}", 3.0),
        ("picloud_ready", 1.0),
        ("picloud_sealing", 1.0),
        ("picloud_view_parked{view=\"invocations\"}", 0.0),
        ("picloud_outbox_pending", 0.0),
        ("picloud_dead_letters_open", 0.0),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name}:\n{text}");
    }
    // The dashboard asks for nothing that is not told.
    let dashboard = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana.json")).unwrap();
    let asked =
        dashboard.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("picloud_"));
    for name in asked.map(|name| name.trim_end_matches("_bucket")) {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}:\n{text}");
    }
    service.stop().await;
}
