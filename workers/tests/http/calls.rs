//! What goes out and what comes back.

use picloud_workers::http::Failure;
use reqwest::Method;

use crate::support::{Reply, Server, answer, ask, client, get, loopback, with_headers};

#[tokio::test]
async fn a_call_goes_out_and_its_answer_comes_back_as_they_are() {
    let server = Server::saying(answer("418 Teapot", "x-cup: small\r\nx-cup: large\r\n", "short and stout")).await;
    let client = client(&[loopback(server.port())]);
    let mut request = with_headers(get(&server.url("/pots?size=1")), &[("x-own", "a"), ("x-own", "b")]);
    request.method = Method::PUT;
    request.body = "tea".into();
    let came = ask(&client, request).await.unwrap();

    assert_eq!((came.status, &came.body[..]), (418, &b"short and stout"[..]));
    let cups: Vec<_> = came.headers.iter().filter(|(name, _)| name == "x-cup").map(|(_, value)| &**value).collect();
    assert_eq!(cups, ["small", "large"]);
    let [seen] = &server.seen()[..] else { panic!("one call") };
    assert!(seen.head.starts_with("PUT /pots?size=1 HTTP/1.1"), "{}", seen.head);
    assert_eq!(seen.body, b"tea");
    assert_eq!(seen.header("host"), Some(&*server.address.to_string()));
    assert!(seen.head.contains("x-own: a\nx-own: b"), "{}", seen.head);
    assert!(seen.header("user-agent").unwrap().starts_with("picloud/"));
}

#[tokio::test]
async fn a_connection_serves_many_calls() {
    let server = Server::saying(answer("200 OK", "", "x")).await;
    let client = client(&[loopback(server.port())]);
    for _ in 0..5 {
        ask(&client, get(&server.url("/"))).await.unwrap();
    }
    assert_eq!((server.seen().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn nothing_is_called_twice_when_the_connection_breaks() {
    let server = Server::start(|_| Reply::Leaves(Vec::new())).await;
    let client = client(&[loopback(server.port())]);
    let Err(Failure::Connection(why)) = ask(&client, get(&server.url("/"))).await else { panic!("no answer came") };
    assert!(why.starts_with("the connection broke: "), "{why}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_says_so() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = ask(&client(&[loopback(gone.port())]), get(&format!("http://{gone}/"))).await.unwrap_err().to_string();
    assert!(why.starts_with("no connection: ") && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn compressed_answers_are_handed_over_as_they_came() {
    // A megabyte of nothing, in a thousand bytes, would be one.
    let server = Server::saying(answer("200 OK", "content-encoding: gzip\r\n", "not really")).await;
    let client = client(&[loopback(server.port())]);
    let came = ask(&client, get(&server.url("/"))).await.unwrap();
    assert_eq!(&came.body[..], b"not really");
    assert_eq!(server.seen()[0].header("accept-encoding"), None, "nothing compressed is asked for");
}
