//! Idempotent requests: the outcome is part of the commit that makes it true.

use picloud_core::{
    event::FailureReason,
    id::AppId,
    log::{
        IdempotencyClaim,
        idempotency::{Begin, Kept, begin, open, release},
        node::revoke,
    },
    run::{Call, Invoker as _, Unavailable},
};
use sqlx::PgPool;

use crate::support::{
    Cluster, TestNode, call, failure_in, kinds, lock_stored_data, node, soon, waiting_for_stored_data,
};

const SCOPE: [u8; 32] = [1; 32];

async fn ask(node: &TestNode, app: AppId) -> Begin {
    begin(&node.pool, &node.node, app, SCOPE, [2; 32]).await.unwrap()
}

async fn claim(node: &TestNode, app: AppId) -> IdempotencyClaim {
    match ask(node, app).await {
        Begin::Fresh(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// A call under a claim.
async fn claimed(node: &TestNode, app: AppId, source: &str) -> Call {
    Call { idempotency: Some(claim(node, app).await), ..call(app, source) }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_outcome_is_kept_with_the_completion(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let call = claimed(&node, app, r#"c.increment("n", 1); #{statusCode: 402, body: "pay"}"#).await;
    let invocation = call.invocation;
    let answer = node.invoke(call).await.unwrap().result.unwrap();
    let Begin::Done(sealed) = ask(&node, app).await else { panic!("it is done") };
    let kept = open(&node.keyring.app(app).await.unwrap(), &SCOPE, &sealed).unwrap();
    assert_eq!((kept.invocation, kept.status, kept.body()), (Some(invocation), 402, Some(answer.body.clone())));
    assert_eq!(kept, Kept::of(Some(invocation), &answer));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn failures_and_5xx_keep_nothing(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    for source in [r#"throw "no""#, r#"#{statusCode: 503}"#, r#"c.set("s", "x"); c.increment("s", 1)"#] {
        let call = claimed(&node, app, source).await;
        let claim = call.idempotency.clone().unwrap();
        let _ = node.invoke(call).await.unwrap().result;
        assert_eq!(ask(&node, app).await, Begin::InFlight, "{source}: the claim is whoever's took it");
        release(&node.pool, &claim).await.unwrap();
    }
    claim(&node, app).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_whose_claim_was_lost_wrote_nothing_and_says_so(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let call = claimed(&node, app, r#"c.set("n", 1)"#).await;
    let invocation = call.invocation;
    release(&node.pool, call.idempotency.as_ref().unwrap()).await.unwrap();
    let second = claim(&node, app).await;

    let failure = node.fail(call).await;
    assert_eq!(failure.reason, FailureReason::Conflict, "{failure:?}");
    assert!(failure.message.contains("idempotency key"), "{}", failure.message);
    let events = node.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.failed"]);
    assert_eq!(failure_in(&events).reason, FailureReason::Conflict);
    assert_eq!(node.value(app, "n").await, None);
    // The second attempt is not disturbed.
    let again = Call { idempotency: Some(second), ..self::call(app, r#"c.set("n", 2)"#) };
    node.invoke(again).await.unwrap().result.unwrap();
    assert!(matches!(ask(&node, app).await, Begin::Done(_)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_claim_of_a_dead_node_is_the_next_ones_and_the_dead_cannot_use_it(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (dying, next) = (cluster.node().await, cluster.node().await);
    let app = AppId::generate();
    let call = claimed(&dying, app, r#"c.set("n", c.get_or("n", 0) + 1)"#).await;
    let held = lock_stored_data(&next.pool).await;
    let run = dying.runner.invoke(call);
    waiting_for_stored_data(&next.pool, 1).await;
    assert_eq!(ask(&next, app).await, Begin::InFlight, "it may yet complete");
    revoke(&next.pool, dying.node.epoch()).await.unwrap();
    let again = claimed(&next, app, r#"c.set("n", c.get_or("n", 0) + 1)"#).await;
    held.rollback().await.unwrap();

    assert_eq!(soon(run).await.expect_err("revoked"), Unavailable::Log);
    next.invoke(again).await.unwrap().result.unwrap();
    assert!(matches!(ask(&next, app).await, Begin::Done(_)));
    assert_eq!(next.value(app, "n").await.as_deref(), Some("1"), "once");
    dying.stop().await;
    next.stop().await;
}
