//! Alerts by mail: over TLS, through a `kill -9`, and without a word of the password anywhere.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use crate::{
    alerted::{broken, events, fail},
    history,
    home::{Home, told},
    service::Start,
    smtp::SmtpServer,
};

#[tokio::test]
async fn mail_is_sent_once_over_tls_after_a_server_and_a_service_were_away_and_the_password_is_nowhere() {
    let home = Arc::new(Home::new());
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trusted = home.write("trusted.pem", &signed.cert.pem()).display().to_string();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let server = SmtpServer::start(
        move |line| (line == "." && !back.load(Ordering::SeqCst)).then_some("451 later"),
        Some(TlsAcceptor::from(Arc::new(config))),
    )
    .await;
    let url = server.url().replace("127.0.0.1", "localhost") + "?tls=required";
    let start = || {
        Start::new(&home)
            .with("PICLOUD_LOG", "debug")
            .with("SSL_CERT_FILE", &trusted)
            .with("PICLOUD_SMTP_URL", &url)
            .with("PICLOUD_MAIL_FROM", "PiCloud <pi@example.com>")
    };
    let mut service = start().ready().await;
    let set = home.picloud(&["alerts", "set", "ops", "--email", "Anna@Example.com", "--on", "dead-letter"]).await;
    assert!(set.contains("ops is told at Anna@example.com. Try it: picloud alerts test ops"), "{set}");
    broken(&home, "shop").await;
    fail(&service, "shop").await;
    let again = events(&service, "alert.rescheduled", 1).await;
    assert_eq!(again[0]["data"]["error"], "it answered 451: later");
    let refused = home.run(&["alerts", "test", "ops"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("has not taken the test: it answered 451: later"), "{}", told(&refused));
    service.kill().await;
    let said_before = service.said();

    is_back.store(true, Ordering::SeqCst);
    let service = start().ready().await;
    let delivered = events(&service, "alert.delivered", 1).await;
    let got = server.has(1).await;
    assert_eq!(got[0].to, ["Anna@example.com"]);
    let id = again[0]["subject"].as_str().unwrap();
    assert_eq!(got[0].header("Message-ID").as_deref(), Some(&*format!("<{id}@example.com>")));
    assert_eq!(delivered[0]["subject"], again[0]["subject"]);
    let subject = got[0].header("Subject").unwrap();
    assert!(subject.ends_with("] The app `shop` has a new dead letter."), "{subject}");
    assert!(got[0].message.contains(&format!("Where: {}", service.admin)), "{}", got[0].message);
    let tested = home.picloud(&["alerts", "test", "ops"]).await;
    assert!(tested.contains("has taken the test: it answered 250. It said: 2.0.0 queued as 42"), "{tested}");
    assert_eq!(server.has(2).await.len(), 2, "each once");

    let listed = home.picloud(&["alerts", "ls"]).await;
    assert!(listed.contains("Anna@example.com"), "{listed}");
    let variables =
        BTreeMap::from([("PICLOUD_SMTP_URL", url.clone()), ("PICLOUD_MAIL_FROM", "pi@example.com".to_owned())]);
    let shown = told(&home.run_with(&["serve", "--print-config"], &variables).await);
    assert!(shown.contains("smtp://me%40example.com:****@localhost:"), "{shown}");
    let log: String = history::of(&service).await.iter().map(Value::to_string).collect();
    let said = format!("{said_before}{}", service.stop().await);
    assert!(!log.to_lowercase().contains("anna"), "addresses are not in the log");
    for (place, text) in [("log", log), ("service", said), ("list", listed), ("configuration", shown), ("test", tested)]
    {
        for secret in ["hunter2", "sesame", "bWVAZXhhbXBsZS5jb20", "AG1lQGV4YW1wbGUuY29tAGh1bnRlcjI6b3Blbi9zZXNhbWU="] {
            assert!(!text.contains(secret), "`{secret}` is in the {place}");
        }
    }
}

#[tokio::test]
async fn without_a_server_a_channel_of_mail_is_refused_with_what_to_set() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let refused = home.run(&["alerts", "set", "ops", "--email", "ops@example.com"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("start `picloud serve` with --smtp-url and --mail-from"), "{}", told(&refused));
    service.stop().await;
}
