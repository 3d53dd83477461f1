//! Scripts that call others do not get at the platform, nor at what else only this machine reaches.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use reqwest::StatusCode;

use crate::{
    app,
    home::Home,
    service::{Service, Start},
};

/// Calls what the query says, and says what came of it.
const CALL: &str = "try { http::get(ctx.request.query.url); } catch (e) { return #{ threw: e }; } \"reached\"";

#[tokio::test]
async fn a_script_reaches_neither_the_platform_nor_the_machine_it_runs_on() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = app::write(&home, "caller", &[("call", "GET /", CALL)]);
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

/// Says hello to so many calls.
fn neighbour(calls: usize) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = thread::spawn(move || {
        for _ in 0..calls {
            let (mut called, _) = listener.accept().unwrap();
            assert_ne!(called.read(&mut [0; 1024]).unwrap(), 0);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            called.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, answering)
}

#[tokio::test]
async fn an_app_reaches_what_it_was_allowed_to_until_that_is_taken_back_and_others_do_not() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    for name in ["shop", "blog"] {
        let folder = app::write(&home, name, &[("call", "GET /", CALL)]);
        home.picloud(&["deploy", &folder]).await;
    }
    let (there, answering) = neighbour(2);
    let call = async |service: &Service, app: &str, to: &str| {
        let (status, body) = service.get(&format!("{app}.localhost"), &format!("/?url={to}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    };
    let (url, refused) = (format!("http://{there}/"), "is not on the public internet");
    assert!(call(&service, "shop", &url).await.contains(refused));

    // By its address and port, and then by the network and under any name.
    let target = there.to_string();
    home.picloud(&["app", "http", "allow", "shop", &target]).await;
    assert_eq!(call(&service, "shop", &url).await, "\"reached\"");
    assert!(call(&service, "blog", &url).await.contains(refused), "it is not the other app's");
    let by_name = format!("http://localhost:{}/", there.port());
    assert!(call(&service, "shop", &by_name).await.contains(refused), "another name");
    home.picloud(&["app", "http", "rm", "shop", &target]).await;
    assert!(call(&service, "shop", &url).await.contains(refused), "at the next call");

    home.picloud(&["app", "http", "allow", "shop", "127.1.2.3/8"]).await;
    assert!(home.picloud(&["app", "http", "ls", "shop"]).await.contains("127.0.0.0/8"));
    assert_eq!(call(&service, "shop", &by_name).await, "\"reached\"");
    answering.join().unwrap();

    // Whatever is allowed, the platform itself is not.
    for own in [&service.admin, &service.public] {
        let own = format!("{own}/healthz");
        home.picloud(&["app", "http", "allow", "shop", own.split('/').nth(2).unwrap()]).await;
        assert!(call(&service, "shop", &own).await.contains("is the platform's own address"));
    }
    service.stop().await;
}
