//! Dead letters: told once in a cool-down, and then all that came meanwhile.

use picloud_core::event::{alert_channel::Removed, backup};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    server::{Server, answer},
    support::{Cluster, body, of_the_instance, soon},
};

const HOUR: u32 = 3_600;

#[sqlx::test(migrations = "../migrations")]
async fn of_an_apps_letters_one_alert_is_told_in_a_cool_down(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let receiver = Server::saying(answer("204 No Content", "", "")).await;
    let (shop, blog) = (node.app("shop").await, node.app("blog").await);
    // Nobody is told of what was there before there was anybody to be told.
    node.letter(shop).await;
    node.channel("ops", &receiver, HOUR, None).await;
    node.letter(shop).await;
    soon(receiver.was_asked(1)).await;
    let first = body(&receiver.seen()[0]);
    assert_eq!(first["type"], "alert.raised");
    assert_eq!(first["data"]["app"], json!({ "id": shop, "slug": "shop" }));
    assert_eq!(first["data"]["count"], 1);
    node.events("alert.delivered", 1).await;

    // Another app's letter is another matter: that it is told shows that the second of the shop was looked at.
    node.letter(shop).await;
    node.letter(blog).await;
    soon(receiver.was_asked(2)).await;
    assert_eq!(body(&receiver.seen()[1])["data"]["app"]["slug"], "blog");
    node.events("alert.delivered", 2).await;
    assert_eq!(node.count("alert.raised").await, 2);
    assert_eq!(receiver.seen().len(), 2);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_came_in_a_cool_down_is_told_at_its_end_unless_it_was_seen_to(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let receiver = Server::saying(answer("200 OK", "", "ok")).await;
    let shop = node.app("shop").await;
    node.channel("ops", &receiver, 2, None).await;
    node.letter(shop).await;
    soon(receiver.was_asked(1)).await;
    let seen_to = node.letter(shop).await;
    node.letter(shop).await;
    node.letter(shop).await;
    node.resolve(shop, seen_to).await;
    soon(receiver.was_asked(2)).await;
    assert_eq!(body(&receiver.seen()[1])["data"]["count"], 2, "without the first, and the one that was resolved");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_nodes_one_tells_and_the_other_goes_on_when_it_is_gone(pool: PgPool) {
    let cluster = Cluster::new(&pool);
    let (one, other) = (cluster.node("attic").await, cluster.node("cellar").await);
    let receiver = Server::saying(answer("200 OK", "", "")).await;
    let (shop, blog) = (one.app("shop").await, one.app("blog").await);
    one.channel("ops", &receiver, HOUR, None).await;
    one.letter(shop).await;
    soon(receiver.was_asked(1)).await;
    one.events("alert.delivered", 1).await;
    one.stop().await;
    other.letter(blog).await;
    soon(receiver.was_asked(2)).await;
    other.events("alert.delivered", 2).await;
    let told: Vec<_> = receiver.seen().iter().map(|seen| body(seen)["data"]["app"]["slug"].clone()).collect();
    assert_eq!(told, ["shop", "blog"], "each once");
    assert_eq!(other.count("alert.raised").await, 2);
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_backup_that_failed_is_told_and_a_channel_that_was_removed_hears_nothing(pool: PgPool) {
    let node = Cluster::new(&pool).node("attic").await;
    let (gone, receiver) =
        (Server::saying(answer("200 OK", "", "")).await, Server::saying(answer("200 OK", "", "")).await);
    node.channel("gone", &gone, HOUR, None).await;
    node.channel("ops", &receiver, HOUR, None).await;
    let removed = node.commit(of_the_instance(Removed { channel: "gone".to_owned() })).await;
    soon(node.setup.reached(removed.last)).await;
    node.commit(of_the_instance(backup::Failed::because("failed to read the database"))).await;
    soon(receiver.was_asked(1)).await;
    let told = body(&receiver.seen()[0]);
    assert_eq!(told["data"]["condition"], "backup_failed");
    assert_eq!(told["data"]["error"], "failed to read the database");
    node.events("alert.delivered", 1).await;
    assert_eq!(gone.connections(), 0);
    node.stop().await;
}
