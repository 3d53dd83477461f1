//! The first start, the next ones, and starts that must not be.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use reqwest::{Method, StatusCode};

use crate::{
    app,
    home::Home,
    service::{Start, answer, client},
};

#[tokio::test]
async fn a_first_start_greets_and_makes_a_key_that_the_command_line_finds() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let said = service.until_it_says("curl").await;
    for part in ["PiCloud", &service.public, &service.admin, "profile.toml", "deploy hello.rhai"] {
        assert!(said.contains(part), "the greeting names `{part}`:\n{said}");
    }
    let profile = fs::metadata(home.data().join("profile.toml")).unwrap();
    assert_eq!(profile.permissions().mode() & 0o777, 0o600);
    let master = fs::metadata(home.data().join("master.key")).unwrap();
    assert_eq!(master.permissions().mode() & 0o777, 0o600);

    // What the greeting tells people to type.
    home.write("hello.rhai", r#""Hello, " + (ctx.request.query.name ?? "world") + "!""#);
    let deployed = home.picloud(&["deploy", "hello.rhai", "--route", "GET /hello"]).await;
    assert!(deployed.contains(&format!("{}/hello", service.public)), "it says where: {deployed}");
    assert_eq!(service.get("127.0.0.1", "/hello?name=you").await, (StatusCode::OK, "\"Hello, you!\"".to_owned()));

    // Without the key there is nothing to see.
    let request = client().request(Method::GET, format!("{}/api/v1/admin/apps", service.admin));
    assert_eq!(answer(request).await.0, StatusCode::UNAUTHORIZED);

    let refused = Start::new(&home).spawn().ended().await;
    assert_eq!(refused.0.code(), Some(1));
    let pid = service.pid().as_raw_nonzero().to_string();
    assert!(refused.1.contains(&pid) && refused.1.contains(home.data().to_str().unwrap()), "{}", refused.1);

    let said = service.stop().await;
    assert!(!said.contains("error"), "it stops without a complaint:\n{said}");
    assert_eq!(home.postmaster(), None, "and PostgreSQL with it");
}

#[tokio::test]
async fn a_restart_keeps_everything_and_no_other_master_key_will_do() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let app = app::write(&home, "kept", &[("count", "POST /count", app::COUNT)]);
    home.picloud(&["deploy", &app]).await;
    assert_eq!(service.post("kept.localhost", "/count").await, (StatusCode::OK, "1".to_owned()));
    let key = service.key().to_owned();
    service.stop().await;

    let service = Start::new(&home).ready().await;
    assert_eq!(service.key(), key, "the key still holds");
    assert_eq!(service.post("kept.localhost", "/count").await, (StatusCode::OK, "2".to_owned()));
    let again = home.picloud(&["deploy", &app]).await;
    assert!(again.contains("Nothing to change"), "{again}");
    let said = service.stop().await;
    assert!(!said.contains("profile.toml, made just now"), "that was the first start:\n{said}");

    let other = home.path().join("other.key");
    let (status, said) =
        Start::new(&home).with("PICLOUD_MASTER_KEY_FILE", other.to_str().unwrap()).spawn().ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("master key"), "{said}");
    assert_eq!(home.postmaster(), None, "a start that is refused leaves nothing running");
}
