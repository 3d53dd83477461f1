//! From a file in an editor to an answer.

use std::{process::Stdio, sync::Arc};

use reqwest::StatusCode;

use crate::{app, eventually::eventually, home::Home, service::Start};

#[tokio::test]
async fn what_is_saved_while_dev_watches_is_live_and_a_mistake_changes_nothing() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = app::write(&home, "greeter", &[("greet", "GET /", "`one`")]);
    let mut dev = tokio::process::Command::from({
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
