//! What went wrong, found out from the command line.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use crate::{app, home::Home, service::Start};

const SHIP: &str = r#"
let order = ctx.request.params.order;
log::info(`order ${order} is packed`);
if order == "42" { throw `no address for order ${order}`; }
order
"#;

#[tokio::test]
async fn a_run_is_found_by_what_it_said_and_shown_with_why_it_failed() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let shop = app::write(&home, "shop", &[("ship", "POST /ship/:order", SHIP)]);
    home.picloud(&["deploy", &shop]).await;
    for (order, status) in [(41, StatusCode::OK), (42, StatusCode::INTERNAL_SERVER_ERROR), (43, StatusCode::OK)] {
        let shipped = service.call(Method::POST, "shop.localhost", &format!("/ship/{order}")).send().await.unwrap();
        assert_eq!(shipped.status(), status);
    }
    let found = home.picloud(&["invocations", "ls", "--app", "shop", "--search", "order 42"]).await;
    let rows: Vec<&str> = found.lines().collect();
    assert_eq!(rows.len(), 2, "{found}");
    assert!(rows[1].contains("ship") && rows[1].contains("failed") && rows[1].contains("no address"), "{found}");
    let id = rows[1].split_whitespace().find(|word| word.starts_with("inv_")).unwrap();

    let shown = home.picloud(&["invocations", "show", id, "--app", "shop"]).await;
    for told in ["no address for order 42", "order 42 is packed", "invocation.failed"] {
        assert!(shown.contains(told), "{told}:\n{shown}");
    }
    let errors = home.picloud(&["errors", "--app", "shop"]).await;
    assert!(errors.contains("no address for order 42") && errors.contains(id), "{errors}");
    let metrics = home.picloud(&["metrics", "--app", "shop"]).await;
    let all = metrics.lines().find(|line| line.starts_with("all")).unwrap();
    assert_eq!(all.split_whitespace().skip(1).take(2).collect::<Vec<_>>(), ["2", "1"], "{metrics}");
    service.stop().await;
}
