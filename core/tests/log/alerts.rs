//! What channels were told, and that no two nodes say the same.

use chrono::Utc;
use picloud_core::{
    alert::{ChannelKind, Condition, Matter, Notice},
    event::{
        Actor, Event,
        alert::{Delivered, Failed, Raised, Recovered, Rescheduled},
        alert_channel::{Removed, Set},
        backup,
    },
    id::{AlertId, SecretId},
    log::{CommitError, NewEvent, Position, Read, Rejected},
};
use sqlx::PgPool;

use crate::support::TestNode;

fn of_the_instance(event: impl Into<Event>) -> NewEvent {
    NewEvent::new(None, &Actor::SYSTEM, event)
}

fn channel(name: &str) -> NewEvent {
    of_the_instance(Set {
        channel: name.to_owned(),
        kind: ChannelKind::Webhook,
        host: "hooks.example.com".to_owned(),
        secret: SecretId::generate(),
        conditions: None,
        cooldown_s: 60,
        enabled: true,
    })
}

fn parked(alert: AlertId, channel: &str, view: &str) -> NewEvent {
    of_the_instance(Raised { alert, channel: channel.to_owned(), matter: Matter::ViewParked { view: view.to_owned() } })
}

fn seen(channel: &str, view: &str, version: Position) -> Read {
    let condition = Condition::ViewParked;
    Read::Alert { channel: channel.to_owned(), condition, subject: view.to_owned(), version }
}

fn delivered(alert: AlertId, notice: Notice) -> NewEvent {
    of_the_instance(Delivered { alert, channel: "ops".to_owned(), notice, attempts: 1, status: 200, refused: None })
}

#[derive(Debug, PartialEq)]
struct Standing {
    owed: Option<String>,
    attempts: i32,
    last_error: Option<String>,
    is_over: bool,
    is_due: bool,
}

async fn standing(pool: &PgPool, alert: AlertId) -> Option<Standing> {
    sqlx::query_as::<_, (Option<String>, i32, Option<String>, bool, bool)>(
        "select owed, attempts, last_error, recovered_at is not null, due_at is not null from state.alert where id = $1",
    )
    .bind(alert.uuid())
    .fetch_optional(pool)
    .await
    .unwrap()
    .map(|(owed, attempts, last_error, is_over, is_due)| Standing { owed, attempts, last_error, is_over, is_due })
}

fn owes(owed: Option<&str>, is_over: bool) -> Standing {
    Standing { owed: owed.map(str::to_owned), attempts: 0, last_error: None, is_over, is_due: owed.is_some() }
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_nodes_that_saw_the_same_one_says_it(pool: PgPool) {
    let (one, other) = (TestNode::start(&pool).await, TestNode::start(&pool).await);
    one.commit(vec![channel("ops"), channel("phone")]).await.unwrap();
    let alert = AlertId::generate();
    let never = || vec![seen("ops", "logs", Position::ZERO)];
    let raised = one.commit_after(never(), vec![parked(alert, "ops", "logs")]).await.unwrap();
    let again = other.commit_after(never(), vec![parked(AlertId::generate(), "ops", "logs")]).await;
    assert_eq!(again, Err(CommitError::Rejected(Rejected::Stale)));
    // Another view, and another channel, are other matters.
    for (channel, view) in [("ops", "metrics"), ("phone", "logs")] {
        let reads = vec![seen(channel, view, Position::ZERO)];
        other.commit_after(reads, vec![parked(AlertId::generate(), channel, view)]).await.unwrap();
    }
    // Whoever knows the last one may go on from it.
    let reads = vec![seen("ops", "logs", raised.last)];
    let recovered = Recovered { alert, channel: "ops".to_owned(), condition: Condition::ViewParked };
    other.commit_after(reads, vec![of_the_instance(recovered)]).await.unwrap();
    one.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_end_of_an_alert_is_owed_once_its_beginning_was_told(pool: PgPool) {
    let node = TestNode::start(&pool).await;
    let alert = AlertId::generate();
    node.commit(vec![channel("ops"), parked(alert, "ops", "logs")]).await.unwrap();
    assert_eq!(standing(&pool, alert).await, Some(owes(Some("raised"), false)));

    let (channel, error) = ("ops".to_owned(), "it answered 503".to_owned());
    let again = Rescheduled { alert, channel, notice: Notice::Raised, attempt: 1, error, due_at: Utc::now() };
    let error = Some(again.error.clone());
    node.commit(vec![of_the_instance(again)]).await.unwrap();
    let tried = Standing { attempts: 1, last_error: error, ..owes(Some("raised"), false) };
    assert_eq!(standing(&pool, alert).await.unwrap(), tried);

    let recovered = Recovered { alert, channel: "ops".to_owned(), condition: Condition::ViewParked };
    node.commit(vec![of_the_instance(recovered)]).await.unwrap();
    assert_eq!(standing(&pool, alert).await.unwrap(), Standing { is_over: true, ..tried }, "the beginning first");
    node.commit(vec![delivered(alert, Notice::Raised)]).await.unwrap();
    assert_eq!(standing(&pool, alert).await, Some(owes(Some("recovered"), true)));
    // Said twice it changes nothing: the end is still owed.
    node.commit(vec![delivered(alert, Notice::Raised)]).await.unwrap();
    assert_eq!(standing(&pool, alert).await, Some(owes(Some("recovered"), true)));
    node.commit(vec![delivered(alert, Notice::Recovered)]).await.unwrap();
    assert_eq!(standing(&pool, alert).await, Some(owes(None, true)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_given_up_says_why_until_the_next_and_goes_with_its_channel(pool: PgPool) {
    let node = TestNode::start(&pool).await;
    let (first, second) = (AlertId::generate(), AlertId::generate());
    node.commit(vec![channel("ops"), parked(first, "ops", "logs")]).await.unwrap();
    let (channel_of, error) = ("ops".to_owned(), "no connection".to_owned());
    let failed = Failed { alert: first, channel: channel_of, notice: Notice::Raised, attempts: 12, error };
    node.commit(vec![of_the_instance(failed)]).await.unwrap();
    let given_up = Standing { last_error: Some("no connection".to_owned()), ..owes(None, false) };
    assert_eq!(standing(&pool, first).await, Some(given_up));

    node.commit(vec![parked(second, "ops", "logs")]).await.unwrap();
    assert_eq!(standing(&pool, first).await, None, "the next takes its place");
    assert_eq!(standing(&pool, second).await, Some(owes(Some("raised"), false)));
    // A channel that is set again keeps what it was told.
    node.commit(vec![channel("ops")]).await.unwrap();
    assert_eq!(standing(&pool, second).await, Some(owes(Some("raised"), false)));
    node.commit(vec![of_the_instance(Removed { channel: "ops".to_owned() })]).await.unwrap();
    assert_eq!(standing(&pool, second).await, None);
    // Of a channel that is gone nothing is kept, and nothing breaks.
    node.commit(vec![parked(AlertId::generate(), "ops", "logs")]).await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from state.alert").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_backup_that_failed_is_known(pool: PgPool) {
    let node = TestNode::start(&pool).await;
    for error in ["failed to read the database", "whoever wanted the backup went away"] {
        node.commit(vec![of_the_instance(backup::Failed::because(error))]).await.unwrap();
    }
    let known: Vec<String> =
        sqlx::query_scalar("select error from state.backup_failure").fetch_all(&pool).await.unwrap();
    assert_eq!(known, ["whoever wanted the backup went away"]);
    assert_eq!(backup::Failed::because(&"x".repeat(1_000)).error.len(), 500);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_alert_makes_no_decision_about_the_instance_stale(pool: PgPool) {
    let node = TestNode::start(&pool).await;
    let set = node.commit(vec![channel("ops")]).await.unwrap();
    let as_of = vec![Read::Config { app: None, as_of: set.last }];
    node.commit(vec![parked(AlertId::generate(), "ops", "logs")]).await.unwrap();
    node.commit_after(as_of.clone(), vec![channel("phone")]).await.unwrap();
    // Another channel does.
    let stale = node.commit_after(as_of, vec![channel("third")]).await;
    assert_eq!(stale, Err(CommitError::Rejected(Rejected::Stale)));
    node.stop().await;
}
