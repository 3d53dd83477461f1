//! What is not public is not reached, however it is named.

use std::sync::Arc;

use picloud_core::id::AppId;
use picloud_workers::http::{Exception, Failure};

use crate::support::{Names, Reply, Server, answer, ask, ask_for, client, client_for, client_with, get, loopback};

#[tokio::test]
async fn no_spelling_of_a_private_address_gets_through() {
    let server = Server::saying(answer("200 OK", "", "secret")).await;
    let names = Names::leading(&[
        ("localhost", &[&["127.0.0.1", "::1"]]),
        ("localhost.", &[&["127.0.0.1"]]),
        ("evil.example", &[&["127.0.0.1"]]),
        ("mapped.example", &[&["::ffff:127.0.0.1"]]),
        ("translated.example", &[&["64:ff9b::7f00:1"]]),
        ("anything.example", &[&["0.0.0.0"]]),
    ]);
    let client = client_with(&[], names, &[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "①②⑦.⓪.⓪.①",
        "%31%32%37.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "evil.example",
        "EVIL.example",
        "mapped.example",
        "translated.example",
        "anything.example",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00:ec2::254]",
    ] {
        let url = format!("http://{host}:{}/", server.port());
        let came = ask(&client, get(&url)).await;
        assert!(matches!(came, Err(Failure::NotPublic(_))), "{host}: {came:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_failure_does_not_tell_where_a_name_led() {
    let client = client_with(&[], Names::leading(&[("intranet.example", &[&["10.20.30.40"]])]), &[]);
    let why = ask(&client, get("http://intranet.example/")).await.unwrap_err().to_string();
    assert_eq!(why, "`intranet.example` is not on the public internet, and this app has no exception for it");
    let why = ask(&client, get("http://nowhere.example/")).await.unwrap_err();
    assert_eq!(why, Failure::NoSuchHost("nowhere.example".into()));
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_a_connection_so_that_it_cannot_change_in_between() {
    let server = Server::start(|_| Reply::Leaves(answer("200 OK", "connection: close\r\n", "x"))).await;
    // Allowed when it is looked at, and somewhere else right after.
    let names = Names::leading(&[("rebinding.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let client = client_with(&[loopback(server.port())], Arc::clone(&names), &[]);
    let url = format!("http://rebinding.example:{}/", server.port());
    assert_eq!(ask(&client, get(&url)).await.unwrap().status, 200);
    assert_eq!((names.asked(), server.connections()), (1, 1));
    assert!(matches!(ask(&client, get(&url)).await, Err(Failure::NotPublic(_))));
    assert_eq!((names.asked(), server.connections()), (2, 1));
}

#[tokio::test]
async fn of_several_addresses_only_those_are_tried_that_may_be() {
    let (allowed, other) = (Server::saying(answer("200 OK", "", "allowed")).await, "127.0.0.2");
    let names = Names::leading(&[("mixed.example", &[&[other, "10.0.0.1", "127.0.0.1", "::1"]])]);
    let client = client_with(&[loopback(allowed.port())], names, &[]);
    let came = ask(&client, get(&format!("http://mixed.example:{}/", allowed.port()))).await.unwrap();
    assert_eq!(&came.body[..], b"allowed");
}

#[tokio::test]
async fn names_and_passwords_in_urls_are_refused() {
    let server = Server::saying(answer("200 OK", "", "x")).await;
    let client = client(&[loopback(server.port())]);
    for before in ["user@", "user:secret@", ":secret@", "public.example@", "public.example%40"] {
        let url = format!("http://{before}127.0.0.1:{}/", server.port());
        if let Ok(url) = url.parse::<url::Url>() {
            let came = ask(&client, get(url.as_str())).await;
            let is_refused = matches!(came, Err(Failure::UserInfo | Failure::NoSuchHost(_)));
            assert!(is_refused, "{url}: {came:?}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn only_http_is_spoken() {
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:25/", "data:text/plain,x", "unix:/run/x"]
    {
        let came = ask(&client(&[]), get(url)).await;
        assert!(matches!(came, Err(Failure::Scheme(_))), "{url}: {came:?}");
    }
}

#[tokio::test]
async fn the_platforms_own_addresses_are_refused_whatever_is_allowed() {
    let server = Server::saying(answer("200 OK", "", "database")).await;
    let everything = ["0.0.0.0/0", "::/0"].map(|all| Exception::Network { network: all.parse().unwrap(), port: None });
    let by_name = Exception::Host { host: "db.lan".into(), port: None };
    let names = Names::leading(&[("db.lan", &[&["127.0.0.1"]]), ("sly.example", &[&["0.0.0.0"]])]);
    let [v4, v6] = everything;
    let client = client_with(&[v4, v6, by_name], names, &[server.address]);
    for host in ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "db.lan", "sly.example"] {
        let came = ask(&client, get(&format!("http://{host}:{}/", server.port()))).await;
        assert!(matches!(came, Err(Failure::OwnAddress(_))), "{host}: {came:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_connection_that_one_app_may_have_serves_no_other() {
    let server = Server::saying(answer("200 OK", "", "x")).await;
    let (allowed, other) = (AppId::generate(), AppId::generate());
    let exception: Arc<[Exception]> = [loopback(server.port())].into();
    let names = Names::leading(&[("nas.lan", &[&["127.0.0.1"]])]);
    let client = client_for(move |app| if app == allowed { Arc::clone(&exception) } else { [].into() }, names, &[]);
    let url = format!("http://nas.lan:{}/", server.port());
    ask_for(&client, allowed, get(&url)).await.unwrap();
    assert_eq!(ask_for(&client, other, get(&url)).await, Err(Failure::NotPublic("nas.lan".into())));
    ask_for(&client, allowed, get(&url)).await.unwrap();
    assert_eq!((server.connections(), server.seen().len()), (1, 2));
}
