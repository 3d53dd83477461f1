//! Alerts by mail: once, through restarts, and not again when a server has said no.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use picloud_core::{
    alert::Space,
    event::{Event, backup},
};
use sqlx::PgPool;

use crate::{
    smtp::SmtpServer,
    support::{Cluster, of_the_instance, soon},
};

const TO: &[&str] = &["anna@example.com", "bob@example.org"];

#[sqlx::test(migrations = "../migrations")]
async fn what_a_server_did_not_take_yet_is_sent_after_the_restart_and_once(pool: PgPool) {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let server =
        SmtpServer::start(move |line| (line == "." && !back.load(Ordering::SeqCst)).then_some("451 try again"), None)
            .await;
    let cluster = Cluster::new(&pool).with_mail(&server);
    let node = cluster.node("attic").await;
    node.mail_channel("ops", TO).await;
    let shop = node.app("shop").await;
    node.letter(shop).await;
    let Event::AlertRescheduled(again) = node.events("alert.rescheduled", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((again.attempt, &*again.error), (1, "it answered 451: try again"));
    node.stop().await;

    is_back.store(true, Ordering::SeqCst);
    let node = cluster.node("attic").await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((told.alert, told.attempts, told.status, &told.refused), (again.alert, 2, 250, &None));
    // Another matter is told after it: nothing came between.
    node.letter(node.app("blog").await).await;
    node.events("alert.delivered", 2).await;
    node.stop().await;
    let got = server.got();
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(got[0].to, TO);
    assert_eq!(got[0].header("Message-ID").as_deref(), Some(&*format!("<{}@example.com>", told.alert)));
    assert_eq!(got[0].header("Subject").as_deref(), Some("[PiCloud pi:8081] The app `shop` has a new dead letter."));
    assert_eq!(got[0].header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert!(got[0].message.contains("\r\nNext: picloud dead-letters ls --app shop\r\n"), "{}", got[0].message);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_server_refuses_for_good_is_said_and_not_tried_again(pool: PgPool) {
    let refusing = |line: &str| line.starts_with("RCPT").then_some("550 5.1.1 <anna@example.com> is unknown");
    let server = SmtpServer::start(refusing, None).await;
    let node = Cluster::new(&pool).with_mail(&server).node("attic").await;
    node.mail_channel("ops", &TO[..1]).await;
    node.letter(node.app("shop").await).await;
    let Event::AlertFailed(failed) = node.events("alert.failed", 1).await.remove(0) else { panic!("it is") };
    let says = "it answered 550 to a…@example.com: 5.1.1 <a…@example.com> is unknown";
    assert_eq!((failed.attempts, &*failed.error), (1, says));
    let last: String = sqlx::query_scalar("select last_error from state.alert").fetch_one(&pool).await.unwrap();
    assert_eq!(last, says);
    // Neither the addresses nor the password have come into the log.
    let log: String = node.log().await.iter().map(Event::data).collect();
    assert!(!log.contains("anna") && !log.contains("hunter2"), "{log}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_address_that_is_refused_is_named_while_the_others_are_told(pool: PgPool) {
    let refusing = |line: &str| line.starts_with("RCPT TO:<anna").then_some("550 no such user");
    let server = SmtpServer::start(refusing, None).await;
    let node = Cluster::new(&pool).with_mail(&server).node("attic").await;
    node.mail_channel("ops", TO).await;
    node.letter(node.app("shop").await).await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    let says = "not for a…@example.com: it answered 550 to a…@example.com: no such user";
    assert_eq!(told.refused.as_deref(), Some(says));
    let last: String = sqlx::query_scalar("select last_error from state.alert").fetch_one(&pool).await.unwrap();
    assert_eq!(last, says);
    assert_eq!(server.got()[0].to, ["bob@example.org"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_knows_no_server_says_so_and_one_that_does_tells_what_is_owed(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let node = cluster.node("attic").await;
    node.mail_channel("ops", TO).await;
    node.letter(node.app("shop").await).await;
    let Event::AlertRescheduled(again) = node.events("alert.rescheduled", 1).await.remove(0) else { panic!("it is") };
    assert!(again.error.contains("start `picloud serve` with --smtp-url and --mail-from"), "{}", again.error);
    node.stop().await;
    let server = SmtpServer::willing().await;
    let node = cluster.with_mail(&server).node("attic").await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((told.alert, told.attempts), (again.alert, 2));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_that_is_told_writes_a_header(pool: PgPool) {
    let server = SmtpServer::willing().await;
    // Apps have no such names, as the database sees to. Machines and errors may have any.
    let evil = "attic\r\nBcc: mallory@example.com\r\n\r\n.\r\nMAIL FROM:<mallory@example.com>";
    let node = Cluster::new(&pool).with_mail(&server).node(evil).await;
    node.mail_channel("ops", TO).await;
    node.disk.send_replace(Some(Space { available_bytes: 1 << 20, size_bytes: 1 << 34, is_short: true }));
    node.commit(of_the_instance(backup::Failed::because(evil))).await;
    for got in soon(server.has(2)).await {
        assert_eq!((got.header("Bcc"), got.to.len()), (None, 2), "{}", got.message);
        let subject = got.header("Subject").unwrap();
        assert!(subject.contains("attic Bcc: mallory@example.com"), "{subject}");
    }
    node.events("alert.delivered", 2).await;
    assert_eq!(server.heard().iter().filter(|line| line.starts_with("MAIL")).count(), 2);
    node.stop().await;
}
