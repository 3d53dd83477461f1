//! However others answer, a call takes no longer and no more than it may.

use std::time::{Duration, Instant};

use picloud_workers::http::{Failure, Request};

use crate::support::{MAX_BODY, Reply, Server, answer, ask, client, get, loopback};

async fn asked(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<usize, Failure> {
    let server = Server::start(move |_| reply()).await;
    let client = client(&[loopback(server.port())]);
    ask(&client, get(&server.url("/"))).await.map(|answer| answer.body.len())
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_body_may_be_as_long_as_it_may_be_and_not_longer() {
    let exactly = || Reply::Stays(answer("200 OK", "", &"x".repeat(MAX_BODY)));
    assert_eq!(asked(exactly).await, Ok(MAX_BODY));
    let more = || Reply::Stays(answer("200 OK", "", &"x".repeat(MAX_BODY + 1)));
    assert_eq!(asked(more).await, Err(Failure::TooLarge(MAX_BODY)));
}

#[tokio::test]
async fn an_endless_body_is_refused_while_it_is_read() {
    let endless =
        || Reply::Repeats(CHUNKED.to_vec(), b"400\r\n".iter().chain(&[b'x'; 1024]).chain(b"\r\n").copied().collect());
    assert_eq!(asked(endless).await, Err(Failure::TooLarge(MAX_BODY)));
    let until_it_closes = || Reply::Repeats(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1024]);
    assert_eq!(asked(until_it_closes).await, Err(Failure::TooLarge(MAX_BODY)));
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_waited_for() {
    let announced = || Reply::Hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec());
    assert_eq!(asked(announced).await, Err(Failure::TooLarge(MAX_BODY)));
}

#[tokio::test]
async fn headers_have_an_end() {
    let endless = || Reply::Repeats(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 4096]);
    assert!(matches!(asked(endless).await, Err(Failure::Connection(_))));
    let many = || Reply::Repeats(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(100));
    assert!(matches!(asked(many).await, Err(Failure::Connection(_))));
    let large = || Reply::Stays(answer("200 OK", &format!("x: {}\r\n", "y".repeat(70_000)), ""));
    assert_eq!(asked(large).await, Err(Failure::HeadTooLarge));
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_given_up() {
    for said in
        [Vec::new(), b"HTTP/1.1 200 OK\r\n".to_vec(), answer("200 OK", "", "begun")[..42].to_vec(), CHUNKED.to_vec()]
    {
        let server = Server::start(move |_| Reply::Hangs(said.clone())).await;
        let patience = Duration::from_millis(200);
        let request = Request { timeout: Some(patience), ..get(&server.url("/")) };
        let began = Instant::now();
        assert_eq!(ask(&client(&[loopback(server.port())]), request).await, Err(Failure::TookLonger(patience)));
        assert!(began.elapsed() >= patience, "not before");
    }
}

#[tokio::test]
async fn redirects_have_one_time_together() {
    let server = Server::start(|seen| match seen.path() {
        "/" => Reply::Stays(answer("302 Found", "location: /slow\r\n", "")),
        _ => Reply::Hangs(Vec::new()),
    })
    .await;
    let patience = Duration::from_millis(200);
    let request = Request { timeout: Some(patience), ..get(&server.url("/")) };
    assert_eq!(ask(&client(&[loopback(server.port())]), request).await, Err(Failure::TookLonger(patience)));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    for said in ["SSH-2.0-OpenSSH_9.9\r\n", "220 mail ESMTP\r\n", "HTTP/1.1 999999 ?\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let came = asked(move || Reply::Leaves(said.into())).await;
        assert!(matches!(came, Err(Failure::Connection(_))), "{said:?}: {came:?}");
    }
}
