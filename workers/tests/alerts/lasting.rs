//! What lasts: told when it begins, and when it is over.

use picloud_core::alert::{Condition, Space};
use sqlx::PgPool;

use crate::{
    server::{Server, answer},
    support::{Cluster, body, soon},
};

const FULL: Option<Space> = Some(Space { available_bytes: 1 << 20, size_bytes: 1 << 34, is_short: true });
const FINE: Option<Space> = Some(Space { available_bytes: 1 << 33, size_bytes: 1 << 34, is_short: false });

#[sqlx::test(migrations = "../migrations")]
async fn a_full_disk_is_told_once_with_its_node_and_so_is_its_end(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let (one, other) = (cluster.node("attic").await, cluster.node("cellar").await);
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    one.channel("ops", &receiver, 3_600, None).await;
    // Whichever of them tells: each knows of its own disk alone.
    one.disk.send_replace(FULL);
    soon(receiver.was_asked(1)).await;
    one.events("alert.delivered", 1).await;
    other.disk.send_replace(FULL);
    soon(receiver.was_asked(2)).await;
    one.events("alert.delivered", 2).await;
    one.disk.send_replace(FINE);
    soon(receiver.was_asked(3)).await;
    one.events("alert.delivered", 3).await;
    let told: Vec<_> = receiver.seen().iter().map(body).collect();
    let said = |n: usize| (told[n]["type"].as_str().unwrap(), told[n]["data"]["node"].as_str().unwrap());
    assert_eq!(said(0), ("alert.raised", "attic"));
    assert_eq!(said(1), ("alert.raised", "cellar"));
    assert_eq!(said(2), ("alert.recovered", "attic"));
    assert_eq!(told[2]["data"]["alert"], told[0]["data"]["alert"]);
    assert_eq!(one.count("alert.raised").await, 2);
    one.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_wrong_when_a_node_went_away_is_over_when_it_comes_back_well(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    let node = cluster.node("attic").await;
    node.channel("ops", &receiver, 3_600, None).await;
    node.disk.send_replace(FULL);
    node.events("alert.delivered", 1).await;
    node.stop().await;
    let node = cluster.node("attic").await;
    // Before it has measured it does not know, and says nothing of it when it tells of something else.
    node.letter(node.app("shop").await).await;
    node.events("alert.delivered", 2).await;
    assert_eq!(node.count("alert.recovered").await, 0);
    node.disk.send_replace(FINE);
    soon(receiver.was_asked(3)).await;
    assert_eq!(body(&receiver.seen()[2])["type"], "alert.recovered");
    node.events("alert.recovered", 1).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_is_not_notified_says_so(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let (node, deaf) = (cluster.node("attic").await, cluster.deaf_node("cellar").await);
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    node.channel("ops", &receiver, 3_600, None).await;
    soon(receiver.was_asked(1)).await;
    let told = body(&receiver.seen()[0]);
    assert_eq!(told["data"]["condition"], "listening_degraded");
    assert_eq!(told["data"]["node"], "cellar", "the other hears well");
    node.events("alert.delivered", 1).await;
    deaf.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_channel_hears_of_what_it_wants_to(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let (disks, letters) =
        (Server::saying(answer("200 OK", "", "")).await, Server::saying(answer("200 OK", "", "")).await);
    node.channel("disks", &disks, 3_600, Some(&[Condition::Disk])).await;
    node.channel("letters", &letters, 3_600, Some(&[Condition::DeadLetter])).await;
    let shop = node.app("shop").await;
    node.letter(shop).await;
    soon(letters.was_asked(1)).await;
    node.disk.send_replace(FULL);
    soon(disks.was_asked(1)).await;
    node.events("alert.delivered", 2).await;
    assert_eq!((disks.seen().len(), letters.seen().len()), (1, 1));
    assert_eq!(body(&disks.seen()[0])["data"]["condition"], "disk");
    assert_eq!(body(&letters.seen()[0])["data"]["condition"], "dead_letter");
    node.stop().await;
}
