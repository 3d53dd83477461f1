//! What one append does, path by path.

use picloud_core::{
    event::env,
    id::{AppId, InvocationId, NodeEpoch},
    log::{
        Authority, Commit, CommitError, Committed, IdempotencyClaim, Outcome, Position, Read, Rejected, idempotency,
    },
};
use sqlx::PgPool;

use crate::support::{
    TestNode, completed, created, delete, event, failed, hold_log, increase, running, saw, saw_all, set, set_for,
    somebody_waits_for_the_log, soon, started, stored, value,
};

pub(super) const STALE: Result<Committed, CommitError> = Err(CommitError::Rejected(Rejected::Stale));
pub(super) const NOT_A_NUMBER: Result<Committed, CommitError> = Err(CommitError::Rejected(Rejected::NotANumber));
const UNCLAIMED: Result<Committed, CommitError> = Err(CommitError::Rejected(Rejected::Unclaimed));

/// Commits that are made while the log is held, so that they end up in as few batches as possible: the first alone, the
/// others together.
pub(super) async fn together(
    node: &TestNode,
    database: &PgPool,
    commits: Vec<Commit>,
) -> Vec<Result<Committed, CommitError>> {
    let held = hold_log(database).await;
    let ahead = node.committing(vec![set(AppId::generate(), "ahead", "0")]);
    let all = async {
        let (_, answers) = tokio::join!(
            node.committer.commit(ahead),
            futures::future::join_all(commits.into_iter().map(|commit| node.committer.commit(commit)))
        );
        answers
    };
    let release = async {
        somebody_waits_for_the_log(database).await;
        held.release().await;
    };
    let (answers, ()) = soon(async { tokio::join!(all, release) }).await;
    answers
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_is_in_the_log_as_it_was_made(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let invocation = InvocationId::generate();
    let cause = set(app, "a", r#"{ "z":1,  "a":[1.50] }"#);
    let events = vec![cause.clone(), set(app, "b", "2").following(Some(cause.id), invocation, 3)];
    let made = node.commit(events.clone()).await.unwrap();
    assert_eq!((made.first, made.last), (Position(1), Position(2)));

    let log = node.log().await;
    assert_eq!(log.iter().map(|event| event.position.0).collect::<Vec<_>>(), [1, 2]);
    for (stored, sent) in log.iter().zip(&events) {
        assert_eq!(stored.at, made.at);
        assert_eq!(stored.event.id, sent.id);
        assert_eq!(stored.event.app, Some(app));
        assert_eq!(stored.event.actor, sent.actor);
        assert_eq!(stored.event.data, sent.data, "the exact text");
        assert_eq!(stored.event.subject, sent.subject);
        assert_eq!((stored.event.cause, stored.event.root, stored.event.depth), (sent.cause, sent.root, sent.depth));
    }
    assert_eq!(stored(&database, app, "a").await, Some((r#"{ "z":1,  "a":[1.50] }"#.to_owned(), 1, false)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_head_that_is_remembered_and_one_that_is_taken_over_go_on_without_a_gap(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let mut at = None;
    let mut next = 1;
    for who in [&one, &one, &two, &one, &two, &two, &two, &one] {
        let made = who.commit(vec![set(app, "a", "1"), set(app, "b", "1")]).await.unwrap();
        assert_eq!((made.first.0, made.last.0), (next, next + 1));
        assert!(Some(made.at) >= at, "time went backwards");
        at = Some(made.at);
        next += 2;
    }
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_clock_never_goes_backwards_along_the_log(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "1")]).await.unwrap();
    node.stop().await;
    // As if the database's clock had been ahead by an hour when that was appended.
    sqlx::query("update log.events set at = at + interval '1 hour'").execute(&database).await.unwrap();
    let node = TestNode::start(&database).await;
    let ahead = node.log().await[0].at;
    for _ in 0..2 {
        assert_eq!(node.commit(vec![set(app, "a", "2")]).await.unwrap().at, ahead);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_read_of_a_present_key_is_stale_once_it_was_written_or_deleted(database: PgPool) {
    // Two nodes: what one of them remembers must not be what decides.
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let seen = one.commit(vec![set(app, "a", "1")]).await.unwrap().last;
    for node in [&one, &two] {
        node.commit_after(vec![saw(app, "a", seen)], vec![set(app, "other", "1")]).await.unwrap();
    }
    let newer = two.commit(vec![set(app, "a", "2")]).await.unwrap().last;
    for node in [&one, &two] {
        assert_eq!(node.commit_after(vec![saw(app, "a", seen)], vec![set(app, "x", "1")]).await, STALE);
        node.commit_after(vec![saw(app, "a", newer)], vec![set(app, "other", "1")]).await.unwrap();
    }
    two.commit(vec![delete(app, "a")]).await.unwrap();
    for node in [&one, &two] {
        assert_eq!(node.commit_after(vec![saw(app, "a", newer)], vec![set(app, "x", "1")]).await, STALE);
        node.commit_after(vec![saw(app, "a", Position::ZERO)], vec![set(app, "other", "1")]).await.unwrap();
    }
    assert_eq!(value(&database, app, "x").await, None, "what was refused wrote nothing");
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_read_of_an_absent_key_is_stale_once_it_is_there(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    one.commit_after(vec![saw(app, "a", Position::ZERO)], vec![set(app, "a", "1")]).await.unwrap();
    for node in [&one, &two] {
        assert_eq!(
            node.commit_after(vec![saw(app, "a", Position::ZERO)], vec![set(app, "a", "2")]).await,
            STALE,
            "two that make one key cannot both win"
        );
    }
    // The same key of another app, and of another collection, is another.
    two.commit_after(vec![saw(AppId::generate(), "a", Position::ZERO)], vec![set(app, "b", "2")]).await.unwrap();
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("1"));
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_expired_key_is_absent_whether_it_was_swept_or_not(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let seen = one.commit(vec![set_for(app, "a", "1", -5), set_for(app, "b", "1", 500)]).await.unwrap().first;
    for node in [&one, &two] {
        for version in [Position::ZERO, seen] {
            node.commit_after(vec![saw(app, "a", version)], vec![set(app, "other", "1")]).await.unwrap();
        }
        assert_eq!(
            node.commit_after(vec![saw(app, "b", Position::ZERO)], vec![set(app, "x", "1")]).await,
            STALE,
            "it has an expiry, but lives"
        );
    }
    sqlx::query("delete from state.kv where key = 'a'").execute(&database).await.unwrap();
    for node in [&one, &two] {
        node.commit_after(vec![saw(app, "a", Position::ZERO)], vec![set(app, "other", "1")]).await.unwrap();
        assert_eq!(node.commit_after(vec![saw(app, "a", seen)], vec![set(app, "x", "1")]).await, STALE);
    }
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_in_one_batch_that_saw_the_same_one_wins(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let seen = node.commit(vec![set(app, "a", "0")]).await.unwrap().last;
    let raise = |n: i32| Commit {
        reads: vec![saw(app, "a", seen)],
        ..node.committing(vec![set(app, "a", &n.to_string()), set(app, &format!("by{n}"), "1")])
    };
    let answers = together(&node, &database, vec![raise(1), raise(2), raise(3)]).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(answers[1..], [STALE, STALE]);
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("1"));
    assert_eq!(value(&database, app, "by2").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_range_is_stale_once_a_key_in_it_was_written_by_whomever(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let as_of = one.commit(vec![set(app, "a1", "1"), set(app, "b1", "1")]).await.unwrap().last;
    two.commit(vec![set(app, "b2", "1")]).await.unwrap();
    one.commit_after(vec![saw_all(app, "a", as_of)], vec![set(app, "other", "1")]).await.unwrap();
    assert_eq!(one.commit_after(vec![saw_all(app, "b", as_of)], vec![set(app, "x", "1")]).await, STALE);
    assert_eq!(two.commit_after(vec![saw_all(app, "b", as_of)], vec![set(app, "x", "1")]).await, STALE);

    // The other node wrote last: this one has to read what it missed before it can say anything.
    let as_of = two.commit(vec![set(app, "c1", "1")]).await.unwrap().last;
    one.commit_after(vec![saw_all(app, "c", as_of)], vec![set(app, "other", "1")]).await.unwrap();
    two.commit(vec![delete(app, "c1")]).await.unwrap();
    assert_eq!(one.commit_after(vec![saw_all(app, "c", as_of)], vec![set(app, "x", "1")]).await, STALE);
    two.commit(vec![increase(app, "c2", 1)]).await.unwrap();
    let now = one.reader.head().await.unwrap();
    assert_eq!(one.commit_after(vec![saw_all(app, "", Position(now.0 - 1))], vec![set(app, "x", "1")]).await, STALE);
    one.commit_after(vec![saw_all(app, "", now)], vec![set(app, "other", "1")]).await.unwrap();
    assert_eq!(value(&database, app, "x").await, None);
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_fresh_node_can_commit_what_it_saw_of_a_range(database: PgPool) {
    let one = TestNode::start(&database).await;
    let app = AppId::generate();
    one.commit(vec![set(app, "a1", "1")]).await.unwrap();
    one.stop().await;

    let two = TestNode::start(&database).await;
    // As a run does it: look, and decide anew when it was stale. The second look at the latest is good.
    let looked = saw_all(app, "a", two.committer.head());
    if two.commit_after(vec![looked], vec![set(app, "other", "1")]).await == STALE {
        let looked = saw_all(app, "a", two.committer.head());
        two.commit_after(vec![looked], vec![set(app, "other", "1")]).await.unwrap();
    }
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_range_in_one_batch_with_a_write_into_it_is_stale(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let as_of = node.commit(vec![set(app, "a1", "0")]).await.unwrap().last;
    let looking = |prefix: &str, key: &str| Commit {
        reads: vec![saw_all(app, prefix, as_of)],
        ..node.committing(vec![set(app, key, "1")])
    };
    let answers = together(
        &node,
        &database,
        vec![node.committing(vec![set(app, "a2", "1")]), looking("a", "x"), looking("b", "y")],
    )
    .await;
    assert_eq!(answers[1], STALE);
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(value(&database, app, "x").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_configured_meanwhile_makes_a_commit_stale(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (app, other) = (AppId::generate(), AppId::generate());
    let as_of = one.commit(vec![created(app, "shop"), created(other, "other")]).await.unwrap().last;
    let knowing = |app, as_of| vec![Read::Config { app, as_of }];
    let env = |value: &str| vec![event(app, env::Set { name: "A".into(), value: value.into() })];
    two.commit(vec![event(other, env::Set { name: "A".into(), value: "1".into() })]).await.unwrap();
    let newer = one.commit_after(knowing(Some(app), as_of), env("1")).await.unwrap().last;
    for node in [&one, &two] {
        assert_eq!(node.commit_after(knowing(Some(app), as_of), env("2")).await, STALE);
        // A commit that changes no configuration may depend on it too.
        assert_eq!(node.commit_after(knowing(Some(app), as_of), vec![set(app, "x", "1")]).await, STALE);
        node.commit_after(knowing(Some(app), newer), vec![set(app, "other", "1")]).await.unwrap();
        node.commit_after(knowing(None, as_of), vec![set(app, "other", "1")]).await.unwrap();
    }
    assert_eq!(value(&database, app, "x").await, None);
    one.stop().await;
    two.stop().await;
}

async fn claim(node: &TestNode, app: AppId, scope: u8) -> IdempotencyClaim {
    match idempotency::begin(&node.pool, &node.node, app, [scope; 32], [0; 32]).await.unwrap() {
        idempotency::Begin::Fresh(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_outcome_is_written_by_the_commit_that_makes_it_true(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let begin = || idempotency::begin(&node.pool, &node.node, app, [1; 32], [0; 32]);
    let kept = claim(&node, app, 1).await;
    assert_eq!(begin().await.unwrap(), idempotency::Begin::InFlight);
    let outcome = |claim: &IdempotencyClaim| Outcome { claim: claim.clone(), sealed: b"answer".to_vec() };
    node.commit_outcome(outcome(&kept), vec![set(app, "a", "1")]).await.unwrap();
    assert_eq!(begin().await.unwrap(), idempotency::Begin::Done(b"answer".to_vec()));
    // What is done is done once.
    assert_eq!(node.commit_outcome(outcome(&kept), vec![set(app, "a", "2")]).await, UNCLAIMED);
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("1"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_outcome_without_its_claim_is_refused_alone(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let (lost, kept) = (claim(&node, app, 1).await, claim(&node, app, 2).await);
    idempotency::release(&node.pool, &lost).await.unwrap();
    let again = claim(&node, app, 1).await;
    assert_ne!(lost.claim, again.claim);
    let done = |claim, key: &str| Commit {
        outcome: Some(Outcome { claim, sealed: b"answer".to_vec() }),
        ..node.committing(vec![set(app, key, "1")])
    };
    let answers = together(&node, &database, vec![done(lost, "x"), done(kept, "y"), done(again, "z")]).await;
    assert_eq!(answers[0], UNCLAIMED);
    assert!(answers[1].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(value(&database, app, "x").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_by_another_epochs_right_is_refused(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let stranger = Authority { epoch: NodeEpoch::generate(), lease: None };
    let refused = soon(node.committer.commit(Commit::new(stranger, vec![set(app, "x", "1")]))).await;
    assert_eq!(refused, Err(CommitError::Revoked));
    node.commit(vec![set(app, "a", "1")]).await.unwrap();
    assert_eq!(value(&database, app, "x").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_broken_constraint_is_named_and_nothing_of_the_commit_stays(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![created(app, "shop")]).await.unwrap();
    let twin = AppId::generate();
    for (slug, constraint) in [("shop", "app_slug_unique"), ("No Slug", "app_slug_valid")] {
        let refused = node.commit(vec![set(twin, "x", "1"), created(twin, slug)]).await;
        assert_eq!(refused, Err(Rejected::Invalid { constraint: Some(constraint.into()) }.into()));
    }
    assert_eq!(value(&database, twin, "x").await, None);
    // The connection is as good as before, and stays so: nothing is left open on it to time out.
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(open, 0);
    assert_eq!(node.commit(vec![set(app, "a", "1")]).await.unwrap().first, Position(2));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_a_batch_with_poison_in_it_only_the_culprit_is_refused(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let commits = (0..12)
        .map(|n| {
            node.committing(vec![match n {
                4 => set(app, "nul\0", "1"),
                7 => set(app, "deep", &deep),
                n => set(app, &format!("k{n}"), "1"),
            }])
        })
        .collect();
    let answers = together(&node, &database, commits).await;
    for (n, answer) in answers.iter().enumerate() {
        match n {
            4 | 7 => assert_eq!(*answer, Err(Rejected::Invalid { constraint: None }.into()), "{n}"),
            _ => assert!(answer.is_ok(), "{n}: {answer:?}"),
        }
    }
    assert!(!node.committer.is_stuck());
    let positions: Vec<i64> = node.log().await.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=11).collect::<Vec<_>>());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn runs_are_running_from_their_start_to_their_end(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [one, two, three] = [(); 3].map(|()| InvocationId::generate());
    node.commit(vec![started(app, one, node.epoch()), started(app, two, node.epoch())]).await.unwrap();
    assert_eq!(running(&database).await, [one, two]);
    let ran_by: Vec<uuid::Uuid> =
        sqlx::query_scalar("select node from state.running").fetch_all(&database).await.unwrap();
    assert_eq!(ran_by, [node.epoch().uuid(); 2]);
    // A short run never shows.
    node.commit(vec![started(app, three, node.epoch()), completed(app, three)]).await.unwrap();
    node.commit(vec![completed(app, one)]).await.unwrap();
    assert_eq!(running(&database).await, [two]);
    node.commit(vec![failed(app, two)]).await.unwrap();
    assert_eq!(running(&database).await, []);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn two_nodes_that_read_and_write_one_key_lose_nothing(database: PgPool) {
    const WRITERS: usize = 3;
    const TIMES: usize = 15;
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    let app = AppId::generate();
    let writers = nodes.iter().flat_map(|node| (0..WRITERS).map(move |_| node)).map(|node| {
        let database = &database;
        async move {
            let mut made = Vec::new();
            while made.len() < TIMES {
                let seen = stored(database, app, "n").await;
                let (count, version) = seen.map_or((0, 0), |(value, position, _)| (value.parse().unwrap(), position));
                let next: i64 = count + 1;
                let reads = vec![saw(app, "n", Position(version))];
                match node.commit_after(reads, vec![set(app, "n", &next.to_string()), set(app, "m", "1")]).await {
                    Ok(committed) => made.push(committed),
                    Err(CommitError::Rejected(Rejected::Stale)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            made
        }
    });
    let made: Vec<Committed> = soon(futures::future::join_all(writers)).await.into_iter().flatten().collect();
    let total = 2 * WRITERS * TIMES;
    assert_eq!(value(&database, app, "n").await, Some(total.to_string()));

    let log = nodes[0].log().await;
    assert_eq!(
        log.iter().map(|event| event.position.0).collect::<Vec<_>>(),
        (1..=2 * total as i64).collect::<Vec<_>>()
    );
    assert!(log.is_sorted_by_key(|event| event.at), "time goes one way");
    let mut firsts: Vec<i64> = made.iter().map(|made| made.first.0).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..total as i64).map(|n| 2 * n + 1).collect::<Vec<_>>(), "each commit has its own place");
    for node in nodes {
        node.stop().await;
    }
}
