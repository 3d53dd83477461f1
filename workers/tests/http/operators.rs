//! Addresses that an operator has named: in one's own network, too, but not everywhere.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use picloud_workers::http::{Failure, OperatorClient};
use reqwest::header::HeaderMap;

use crate::support::{Names, Reply, Server, answer, client_with};

const PATIENCE: Duration = Duration::from_secs(20);

fn operators(names: Arc<Names>) -> OperatorClient {
    client_with(&[], names, &[]).for_operators()
}

async fn post(client: &OperatorClient, url: &str, patience: Duration) -> Result<(u16, String), Failure> {
    let reply = client.post(&url.parse().unwrap(), HeaderMap::new(), Bytes::from_static(b"{}"), patience).await?;
    Ok((reply.status, reply.said))
}

#[tokio::test]
async fn what_lies_in_the_own_network_is_reached_and_said_in_short() {
    let server = Server::saying(answer("200 OK", "", &"x".repeat(2_000))).await;
    let client = operators(Names::leading(&[("nas.lan", &[&["127.0.0.1"]])]));
    for url in [server.url("/hook"), format!("http://nas.lan:{}/hook", server.port())] {
        let (status, said) = post(&client, &url, PATIENCE).await.unwrap();
        assert_eq!((status, said.len()), (200, 500), "{url}");
    }
    assert_eq!(server.seen()[0].head.lines().next().unwrap(), "POST /hook HTTP/1.1");
    assert_eq!(server.seen()[1].body, b"{}");
}

#[tokio::test]
async fn where_clouds_hand_out_credentials_nothing_is_sent_however_it_is_named() {
    let names = Names::leading(&[
        ("metadata.internal", &[&["169.254.169.254"]]),
        ("translated.internal", &[&["64:ff9b::a9fe:a9fe"]]),
        ("six.internal", &[&["fd00:ec2::254", "fe80::1"]]),
    ]);
    let client = operators(names);
    for host in [
        "169.254.169.254",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "168.63.129.16",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "224.0.0.1",
        "255.255.255.255",
        "metadata.internal",
        "translated.internal",
        "six.internal",
    ] {
        let refused = post(&client, &format!("http://{host}/latest/meta-data/"), PATIENCE).await;
        assert!(matches!(refused, Err(Failure::NeverCalled(_))), "{host}: {refused:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_there_as_well_leads_only_elsewhere() {
    let server = Server::saying(answer("204 No Content", "", "")).await;
    let client = operators(Names::leading(&[("nas.lan", &[&["169.254.169.254", "127.0.0.1"]])]));
    let url = format!("http://nas.lan:{}/", server.port());
    assert_eq!(post(&client, &url, PATIENCE).await.unwrap().0, 204);
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = Server::saying(answer("200 OK", "", "")).await;
    let location = format!("location: {}\r\n", elsewhere.url("/"));
    let server = Server::saying(answer("307 Temporary Redirect", &location, "")).await;
    let client = operators(Names::leading(&[]));
    assert_eq!(post(&client, &server.url("/"), PATIENCE).await.unwrap().0, 307);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn no_failure_tells_the_secret_part_of_an_address() {
    let server = Server::start(|_| Reply::Hangs(Vec::new())).await;
    let client = operators(Names::leading(&[]));
    let silent = post(&client, &server.url("/open-sesame"), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(silent, Failure::TookLonger(Duration::from_millis(50)));
    for url in
        ["http://nobody.lan/open-sesame", "http://127.0.0.1:1/open-sesame", "https://127.0.0.1:1/open-sesame?x=sesame"]
    {
        let said = post(&client, url, PATIENCE).await.unwrap_err();
        assert!(!said.to_string().contains("sesame") && !format!("{said:?}").contains("sesame"), "{said:?}");
    }
}
