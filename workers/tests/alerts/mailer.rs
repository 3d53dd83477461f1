//! Handing one message over: to whom it may be said, and what a refusal means.

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use picloud_core::mail::Address;
use picloud_workers::mail::{Mail, Mailer, NotSent, Sender, Server, Settings};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    smtp::{SILENCE, SmtpServer},
    support::soon,
};

fn mailer(url: &str) -> Mailer {
    let sender = Sender::read("PiCloud <pi@example.com>").unwrap();
    Mailer::new(Settings { server: Server::read(url).unwrap(), sender })
}

fn mail(to: &[&str]) -> Mail {
    Mail {
        id: "alr_1".to_owned(),
        follows: None,
        to: to.iter().map(|to| Address::read(to).unwrap()).collect(),
        subject: "a subject".to_owned(),
        text: ".\nsome text\n..\n.hidden\n".to_owned(),
        at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
    }
}

const TO: [&str; 2] = ["anna@example.com", "bob@example.org"];

#[tokio::test]
async fn a_message_is_handed_over_whole_to_a_server_that_knows_us() {
    let server = SmtpServer::start(|line| (line == "QUIT").then_some(SILENCE), None).await;
    let taken = soon(mailer(&server.url()).send(&mail(&TO))).await.unwrap();
    assert_eq!((taken.status, &*taken.said, taken.refused), (250, "2.0.0 queued as 42", None));
    let got = server.got().remove(0);
    assert_eq!((&*got.from, got.to.as_slice()), ("pi@example.com", &TO.map(str::to_owned)[..]));
    assert_eq!(got.header("To").as_deref(), Some("anna@example.com, bob@example.org"));
    assert_eq!(got.header("Message-ID").as_deref(), Some("<alr_1@example.com>"));
    assert!(got.message.contains("\r\n\r\n.\r\nsome text\r\n..\r\n.hidden\r\n"), "{:?}", got.message);
}

#[tokio::test]
async fn what_a_server_says_for_good_is_final_and_what_it_says_for_now_is_not() {
    type Refusing = fn(&str) -> Option<&'static str>;
    let refusals: [(Refusing, bool, &str); 6] = [
        (
            |line| (line == "greeting").then_some("554 go away"),
            false,
            "does not take mail now: it answered 554: go away",
        ),
        (|line| line.starts_with("MAIL").then_some("550 not you"), true, "it answered 550 to the sender: not you"),
        (
            |line| line.starts_with("RCPT").then_some("550 5.1.1 <Anna@example.com>: no such user hunter2:open/sesame"),
            true,
            "it answered 550 to a…@example.com: 5.1.1 <a…@example.com>: no such user ****",
        ),
        (
            |line| line.starts_with("RCPT").then_some("450-later\r\n450 perhaps"),
            false,
            "it answered 450 to a…@example.com: later perhaps",
        ),
        (|line| (line == "DATA").then_some("451 the disk is full"), false, "it answered 451: the disk is full"),
        (|line| (line == ".").then_some("552 too much"), true, "it answered 552: too much"),
    ];
    for (reply, is_final, says) in refusals {
        let server = SmtpServer::start(reply, None).await;
        let not_sent = soon(mailer(&server.url()).send(&mail(&TO[..1]))).await.unwrap_err();
        assert!(not_sent.to_string().contains(says), "{not_sent}");
        assert_eq!((not_sent.is_final(), not_sent.status().is_some()), (is_final, true), "{not_sent}");
        assert!(server.got().is_empty());
    }
    // Nobody is there.
    let port = SmtpServer::willing().await.port;
    let not_sent = soon(mailer(&format!("smtp://127.0.0.1:{port}")).send(&mail(&TO))).await.unwrap_err();
    assert!(matches!(not_sent, NotSent::Connection { .. }) && !not_sent.is_final(), "{not_sent}");
}

#[tokio::test]
async fn an_address_that_is_not_taken_keeps_it_from_nobody_else() {
    let refusing = |line: &str| line.starts_with("RCPT TO:<anna").then_some("550 no such user");
    let server = SmtpServer::start(refusing, None).await;
    let taken = soon(mailer(&server.url()).send(&mail(&TO))).await.unwrap();
    assert_eq!(
        taken.refused.as_deref(),
        Some("not for a…@example.com: it answered 550 to a…@example.com: no such user")
    );
    assert_eq!(server.got()[0].to, ["bob@example.org"]);
    // Of those that nobody takes, one may be taken later.
    let refusing = |line: &str| {
        let anna = line.starts_with("RCPT TO:<anna").then_some("550 no such user");
        anna.or_else(|| line.starts_with("RCPT").then_some("452 full"))
    };
    let server = SmtpServer::start(refusing, None).await;
    let not_sent = soon(mailer(&server.url()).send(&mail(&TO))).await.unwrap_err();
    assert_eq!((not_sent.status(), not_sent.is_final()), (Some(452), false));
}

#[tokio::test]
async fn who_is_not_known_may_be_later_and_what_is_answered_to_a_password_is_not_repeated() {
    let echoing = |line: &str| line.starts_with("AUTH").then_some("535 me@example.com:hunter2:open/sesame is wrong");
    let server = SmtpServer::start(echoing, None).await;
    let not_sent = soon(mailer(&server.url()).send(&mail(&TO))).await.unwrap_err();
    let says = format!("`127.0.0.1:{}` did not take the user and password: it answered 535", server.port);
    assert_eq!((not_sent.to_string(), not_sent.is_final()), (says, false));
    assert!(!server.heard().iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_offers_no_tls_or_is_not_who_it_should_be() {
    let server = SmtpServer::willing().await;
    let required = format!("{}?tls=required", server.url());
    let not_sent = soon(mailer(&required).send(&mail(&TO))).await.unwrap_err();
    assert!(not_sent.to_string().contains("offers no STARTTLS") && !not_sent.is_final(), "{not_sent}");
    assert!(server.heard().iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{:?}", server.heard());

    let server = SmtpServer::start(|_| None, Some(self_signed())).await;
    let required = format!("{}?tls=required", server.url());
    let not_sent = soon(mailer(&required).send(&mail(&TO))).await.unwrap_err();
    assert!(not_sent.to_string().contains("certificate"), "{not_sent}");
    assert!(server.heard().iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"), "{:?}", server.heard());
}

fn self_signed() -> TlsAcceptor {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_server_that_does_not_go_on_is_not_waited_for_for_ever() {
    let server = SmtpServer::start(|line| (line == "DATA").then_some(SILENCE), None).await;
    let settings =
        Settings { server: Server::read(&server.url()).unwrap(), sender: Sender::read("pi@example.com").unwrap() };
    let mailer = Mailer::with_patience(settings, Duration::from_secs(1));
    let not_sent = soon(mailer.send(&mail(&TO))).await.unwrap_err();
    assert!(server.heard().iter().any(|line| line == "DATA"), "it got that far");
    assert!(not_sent.to_string().ends_with("took longer than 1 s") && !not_sent.is_final(), "{not_sent}");
}
