//! Redirects are followed step by step, and each is looked at like a call of its own.

use picloud_workers::http::{Failure, Request};
use reqwest::Method;

use crate::support::{Reply, Server, answer, ask, client, get, loopback, with_headers};

fn to(location: &str) -> Vec<u8> {
    answer("302 Found", &format!("location: {location}\r\n"), "")
}

#[tokio::test]
async fn a_redirect_does_not_lead_past_the_guard() {
    let inside = Server::saying(answer("200 OK", "", "secret")).await;
    for location in [inside.url("/"), format!("http://2130706433:{}/", inside.port()), "//169.254.169.254/".into()] {
        let first = Server::saying(to(&location)).await;
        let came = ask(&client(&[loopback(first.port())]), get(&first.url("/"))).await;
        assert!(matches!(came, Err(Failure::NotPublic(_))), "{location}: {came:?}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_redirect_leads_to_http_and_to_nobodys_password() {
    for (location, wanted) in [
        ("file:///etc/passwd", Failure::Scheme("file".into())),
        ("http://user:secret@127.0.0.1/", Failure::UserInfo),
        ("http://[", Failure::BadRedirect),
    ] {
        let server = Server::saying(to(location)).await;
        let came = ask(&client(&[loopback(server.port())]), get(&server.url("/"))).await;
        assert_eq!(came, Err(wanted), "{location}");
    }
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    let server = Server::start(|seen| {
        let left: usize = seen.path()[1..].parse().unwrap();
        let next = if left == 0 { answer("200 OK", "", "there") } else { to(&format!("/{}", left - 1)) };
        Reply::Stays(next)
    })
    .await;
    let client = client(&[loopback(server.port())]);
    assert_eq!(&ask(&client, get(&server.url("/5"))).await.unwrap().body[..], b"there");
    assert_eq!(ask(&client, get(&server.url("/6"))).await, Err(Failure::Redirects));
    assert_eq!(server.seen().len(), 12);
}

#[tokio::test]
async fn credentials_stay_at_home() {
    let other = Server::saying(answer("200 OK", "", "")).await;
    let away = other.url("/away");
    let first = Server::start(move |seen| {
        Reply::Stays(answer(
            "307 Temporary",
            &format!("location: {}\r\n", if seen.path() == "/" { "/home" } else { &away }),
            "",
        ))
    })
    .await;
    let client = client(&[loopback(first.port()), loopback(other.port())]);
    let secrets = [("authorization", "Bearer tea"), ("cookie", "a=b"), ("x-own", "kept")];
    let request = Request { method: Method::POST, body: "body".into(), ..with_headers(get(&first.url("/")), &secrets) };
    ask(&client, request).await.unwrap();

    let at_home = &first.seen()[1];
    assert_eq!((at_home.path(), at_home.header("authorization")), ("/home", Some("Bearer tea")));
    let away = &other.seen()[0];
    assert!(away.head.starts_with("POST /away "), "{}", away.head);
    assert_eq!((&away.body[..], away.header("x-own")), (&b"body"[..], Some("kept")));
    assert_eq!((away.header("authorization"), away.header("cookie")), (None, None));
}

#[tokio::test]
async fn who_does_not_follow_sees_the_redirect() {
    let server = Server::saying(to("/elsewhere")).await;
    let request = Request { follow: false, ..get(&server.url("/")) };
    let came = ask(&client(&[loopback(server.port())]), request).await.unwrap();
    assert_eq!(came.status, 302);
    assert!(came.headers.contains(&("location".into(), "/elsewhere".into())));
    assert_eq!(server.seen().len(), 1);
}
