//! Messages: signed, tried again, and through restarts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use picloud_core::event::{Event, outbox};
use sqlx::PgPool;

use crate::{
    server::{Reply, Server, answer},
    support::{Cluster, of_the_instance, soon},
};

#[sqlx::test(migrations = "../migrations")]
async fn a_receiver_that_is_away_is_told_after_the_restart_of_the_node_with_the_same_message(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let receiver = Server::start(move |_| {
        let status = if back.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        Reply::Stays(answer(status, "", ""))
    })
    .await;
    let node = cluster.node("attic").await;
    let webhook = node.channel("ops", &receiver, 3_600, None).await;
    let shop = node.app("shop").await;
    node.letter(shop).await;
    let Event::AlertRescheduled(again) = node.events("alert.rescheduled", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((again.attempt, &*again.error), (1, "it answered 503"));
    node.stop().await;

    is_back.store(true, Ordering::SeqCst);
    let node = cluster.node("attic").await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((told.alert, told.attempts, told.status), (again.alert, 2, 200));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    for seen in &seen {
        let header = |name: &str| seen.header(name).unwrap().to_owned();
        assert_eq!(header("webhook-id"), told.alert.to_string());
        let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
        let signature = webhook.secret.sign(&header("webhook-id"), timestamp, &seen.body);
        assert_eq!(header("webhook-signature"), signature);
        assert_eq!(header("content-type"), "application/json");
    }
    // Neither the address nor what it is signed with has come into the log.
    let log: String = node.log().await.iter().map(Event::data).collect();
    assert!(!log.contains("open-sesame") && !log.contains("whsec_"), "{log}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn while_the_outbox_is_paused_alerts_are_raised_and_none_leaves(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    node.channel("ops", &receiver, 3_600, None).await;
    let paused = node.commit(of_the_instance(outbox::Paused { reason: None })).await;
    soon(node.setup.reached(paused.last)).await;
    // The second and the third are raised after the first could have been sent.
    for raised in 1..=3 {
        node.letter(node.app(&format!("app-{raised}")).await).await;
        node.events("alert.raised", raised).await;
    }
    assert_eq!(receiver.connections(), 0);
    node.commit(of_the_instance(outbox::Resumed {})).await;
    soon(receiver.was_asked(3)).await;
    node.events("alert.delivered", 3).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_address_that_is_not_there_is_an_attempt_that_failed(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    let shop = node.app("shop").await;
    node.channel("ops", &receiver, 3_600, None).await;
    sqlx::query("delete from live.secret_material where kind = 'alert_channel'").execute(&pool).await.unwrap();
    node.letter(shop).await;
    let Event::AlertRescheduled(again) = node.events("alert.rescheduled", 1).await.remove(0) else { panic!("it is") };
    assert_eq!(again.error, "the address of the channel cannot be read: set the channel again");
    // Set again, it is told at the next attempt.
    node.channel("ops", &receiver, 3_600, None).await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    assert_eq!((told.alert, told.attempts), (again.alert, 2));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_receiver_that_does_not_answer_keeps_no_other_from_being_told(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let silent = Server::start(|_| Reply::Hangs(Vec::new())).await;
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    let shop = node.app("shop").await;
    node.channel("a-silent", &silent, 3_600, None).await;
    node.channel("ops", &receiver, 3_600, None).await;
    node.letter(shop).await;
    soon(silent.was_asked(1)).await;
    let Event::AlertDelivered(told) = node.events("alert.delivered", 1).await.remove(0) else { panic!("it is") };
    assert_eq!(told.channel, "ops");
    node.stop().await;
}
