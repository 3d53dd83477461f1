//! Scripts that call others do not get at the platform, nor at what else only this machine reaches.

use std::{net::TcpListener, sync::Arc};

use reqwest::StatusCode;

use crate::{app, home::Home, service::Start};

#[tokio::test]
async fn a_script_reaches_neither_the_platform_nor_the_machine_it_runs_on() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let source = "try { http::get(ctx.request.query.url); } catch (e) { return #{ threw: e }; } \"reached\"";
    let folder = app::write(&home, "caller", &[("call", "GET /", source)]);
    home.picloud(&["deploy", &folder]).await;

    let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
    neighbour.set_nonblocking(true).unwrap();
    let port = neighbour.local_addr().unwrap().port();
    for (url, says) in [
        (format!("{}/healthz", service.admin), "is the platform's own address"),
        (format!("{}/", service.public), "is the platform's own address"),
        (service.admin.replace("127.0.0.1", "2130706433"), "is the platform's own address"),
        (service.admin.replace("127.0.0.1", "localhost"), "is not on the public internet"),
        (format!("http://127.0.0.1:{port}/"), "is not on the public internet"),
        (format!("http://localhost:{port}/"), "is not on the public internet"),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), "is not on the public internet"),
        ("http://169.254.169.254/latest/meta-data/".into(), "is not on the public internet"),
    ] {
        let (status, body) = service.get("caller.localhost", &format!("/?url={url}")).await;
        assert_eq!(status, StatusCode::OK, "{url}: {body}");
        // A name may lead to several addresses: the last that was refused says why.
        let is_refused = body.contains(says) || (url.contains("localhost") && body.contains("own address"));
        assert!(body.contains("threw") && is_refused, "{url}: {body}");
    }
    assert!(neighbour.accept().is_err(), "nobody came");
    service.stop().await;
}
