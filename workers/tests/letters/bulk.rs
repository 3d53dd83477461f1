//! A job decides about each of its letters once, and says what became of them.

use picloud_core::{
    event::{
        Event,
        dead_letter::{Closing, Created, Resolved},
        job::{Action, CancellationRequested, Counts},
    },
    log::NewEvent,
    outbox::Plain,
};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{Cluster, replayed, soon};

/// More than a job is asked to do in these tests: its rate is in nobody's way.
const AT_ONCE: u32 = 10_000;

#[sqlx::test(migrations = "../migrations")]
async fn every_letter_is_tried_again_once_in_order_and_in_the_name_of_who_started_the_job(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 120).await;
    let (job, began, actor) = node.start(app, Action::ReplayLetters, &letters, AT_ONCE).await;
    let (ended, events) = node.until_ended(job).await;
    assert_eq!(ended.counts, Counts { done: 120, ..Counts::default() });
    assert_eq!(ended.ended.as_ref().map(|(outcome, _)| outcome.as_str()), Some("done"));
    assert_eq!(replayed(&events), letters);
    let about = |recorded: &&picloud_core::log::Recorded| matches!(&recorded.event.event, Event::DeadLetterReplayed(event) if event.job == Some(job));
    let replays: Vec<_> = events.iter().filter(about).collect();
    assert_eq!(replays.len(), 120);
    assert!(replays.iter().all(|replay| replay.event.actor == actor && replay.event.cause == Some(began)));

    // What each gets is what its letter held; in whose name it runs is not who started the job.
    let key = node.keyring.app(app).await.unwrap();
    let mut bodies = Vec::new();
    for recorded in &events {
        let Event::OutboxEnqueued(owed) = &recorded.event.event else { continue };
        let Plain::Request(kept) = Plain::open(&owed.payload, owed.item, &key).unwrap() else { panic!("a request") };
        bodies.push(String::from_utf8(kept.request().body.to_vec()).unwrap());
        assert_eq!(recorded.event.actor.kind, picloud_core::event::ActorKind::Public);
        let of = letters[bodies.len() - 1];
        assert_eq!(owed.replay_of, Some(of));
        let cause = replays.iter().find(|replay| Some(replay.event.id) == recorded.event.cause).unwrap();
        assert_eq!(cause.event.subject, of.to_string());
    }
    assert_eq!(bodies, (0..120).map(|n| n.to_string()).collect::<Vec<_>>());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_others_decided_is_skipped_and_what_cannot_be_read_or_stored_fails_alone(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    let app = node.app("shop").await;
    let mut letters = node.letters(app, 60).await;
    // The database takes no text with this character in it.
    let poison = |created| Created { lane: Some("a\0b".to_owned()), ..created };
    let unstorable = node.letter(app, 61, poison).await;
    letters.insert(20, unstorable.subject.parse().unwrap());
    node.commit(vec![unstorable]).await;
    let erased = sqlx::query_scalar!(
        r#"select data -> 'payload' ->> 'key_id' as "key!" from state.dead_letter where id = $1"#,
        letters[50].uuid()
    );
    let erased = erased.fetch_one(&node.pool).await.unwrap();
    node.keyring.erase_apart(app, &[erased.parse().unwrap()]).await.unwrap();
    let by_hand = Resolved { dead_letter: letters[7], resolution: Closing::Ignored, reason: None, job: None };
    node.commit(vec![NewEvent::new(Some(app), &picloud_core::event::Actor::SYSTEM, by_hand)]).await;

    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, AT_ONCE).await;
    node.works();
    let (ended, events) = node.until_ended(job).await;
    let trouble = Some(format!("{}: what it held was erased", letters[50]));
    assert_eq!(ended.counts, Counts { done: 58, skipped: 1, failed: 2, trouble });
    let decided: Vec<_> =
        letters.iter().copied().enumerate().filter(|(n, _)| ![7, 20, 50].contains(n)).map(|(_, id)| id).collect();
    assert_eq!(replayed(&events), decided);
    let open = sqlx::query_scalar!("select id from state.dead_letter where resolution is null order by id");
    let mut left = vec![letters[20].uuid(), letters[50].uuid()];
    left.sort();
    assert_eq!(open.fetch_all(&node.pool).await.unwrap(), left, "they are as they were");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn letters_are_closed_with_the_reason_that_was_given(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 5).await;
    let action =
        Action::ResolveLetters { resolution: Closing::HandledByScript, reason: Some("by the night job".to_owned()) };
    let (job, began, actor) = node.start(app, action, &letters, AT_ONCE).await;
    let (ended, events) = node.until_ended(job).await;
    assert_eq!(ended.counts.done, 5);
    let closed: Vec<_> = events.iter().filter(|event| event.event.event.kind() == "dead_letter.resolved").collect();
    assert_eq!(closed.len(), 5);
    assert!(closed.iter().all(|event| event.event.actor == actor && event.event.cause == Some(began)));
    let rows = sqlx::query!("select resolution, resolved_why, job from state.dead_letter").fetch_all(&node.pool).await;
    for row in rows.unwrap() {
        let wanted = (Some("handled_by_script"), Some("by the night job"), Some(job.uuid()));
        assert_eq!((row.resolution.as_deref(), row.resolved_why.as_deref(), row.job), wanted);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_that_somebody_calls_off_ends_where_it_is(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 40).await;
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, 1).await;
    // The second of them waits for a second: the job is in the midst of it.
    node.until(|event| matches!(event, Event::DeadLetterReplayed(_))).await;
    let wish = NewEvent::new(Some(app), &picloud_core::event::Actor::SYSTEM, CancellationRequested { job });
    let wished = wish.id;
    node.commit(vec![wish]).await;
    let (ended, events) = node.until_ended(job).await;
    assert_eq!(ended.ended.as_ref().map(|(outcome, _)| outcome.as_str()), Some("cancelled"));
    assert!(ended.counts.sum() < 5, "{ended:?}");
    assert_eq!(replayed(&events).len(), ended.counts.done as usize);
    assert_eq!(events.last().unwrap().event.cause, Some(wished));

    // The letters that it has not come to are as they were.
    let (second, _, _) = node.start(app, Action::ReplayLetters, &letters, AT_ONCE).await;
    let (rest, _) = node.until_ended(second).await;
    assert_eq!((rest.counts.skipped, rest.counts.sum()), (ended.counts.done, 40));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_that_is_called_off_before_anybody_works_on_it_does_nothing(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    let app = node.app("shop").await;
    let letters = node.letters(app, 3).await;
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, AT_ONCE).await;
    let wish = NewEvent::new(Some(app), &picloud_core::event::Actor::SYSTEM, CancellationRequested { job });
    node.commit(vec![wish]).await;
    node.works();
    let (ended, events) = node.until_ended(job).await;
    assert_eq!(ended.ended.as_ref().map(|(outcome, _)| outcome.as_str()), Some("cancelled"));
    assert_eq!((ended.counts, replayed(&events).len()), (Counts::default(), 0));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_keeps_to_its_rate_and_tells_how_far_it_has_come(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 60).await;
    let began = std::time::Instant::now();
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, 20).await;
    let (ended, events) = node.until_ended(job).await;
    assert!(began.elapsed() >= std::time::Duration::from_millis(2_700), "{:?}", began.elapsed());
    let told: Vec<_> = events
        .iter()
        .filter_map(|recorded| match &recorded.event.event {
            Event::JobProgressed(progressed) => Some(&progressed.counts),
            _ => None,
        })
        .collect();
    assert!((1..=4).contains(&told.len()), "now and then: {told:?}");
    assert!(told.iter().all(|counts| (1..60).contains(&counts.done)), "{told:?}");
    assert_eq!(ended.counts.done, 60);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn jobs_of_one_app_follow_each_other_and_those_of_another_do_not_wait(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    let (shop, other) = (node.app("shop").await, node.app("other").await);
    let (letters, others) = (node.letters(shop, 10).await, node.letters(other, 3).await);
    let (first, _, _) = node.start(shop, Action::ReplayLetters, &letters, 5).await;
    // Made within the same millisecond, they would be in any order.
    soon(async {
        while picloud_core::id::JobId::generate().ulid().timestamp_ms() == first.ulid().timestamp_ms() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (second, _, _) = node.start(shop, Action::ReplayLetters, &letters, AT_ONCE).await;
    let (third, _, _) = node.start(other, Action::ReplayLetters, &others, AT_ONCE).await;
    node.works();
    let (ended, events) = node.until_ended(third).await;
    assert_eq!(ended.counts.done, 3);
    assert!(!events.iter().any(|event| event.event.event.kind() == "job.ended" && event.event.app == Some(shop)));
    let (ended, _) = node.until_ended(second).await;
    assert_eq!((ended.counts.done, ended.counts.skipped), (0, 10), "the first had done them all");
    assert_eq!(node.job(first).await.counts.done, 10);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_of_another_app_is_none_of_the_jobs(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let (shop, other) = (node.app("shop").await, node.app("other").await);
    let theirs = node.letters(other, 1).await;
    let (job, _, _) = node.start(shop, Action::ReplayLetters, &theirs, AT_ONCE).await;
    let (ended, events) = node.until_ended(job).await;
    assert_eq!((ended.counts.skipped, replayed(&events).len()), (1, 0));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn letters_that_are_large_go_a_few_at_a_time(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let mut letters = Vec::new();
    for n in 0..8 {
        let id = picloud_core::id::DeadLetterId::from(ulid::Ulid::from_parts(n, 0));
        // Random, so that the database cannot make it small.
        let body: String = (0..300_000).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
        let request = json!({ "request": { "method": "POST", "path": "/", "host": "x", "body": body } }).to_string();
        let (bound_to, purpose) = (id.to_string(), picloud_core::keys::Purpose::Payload);
        let payload = node.keyring.seal_apart(app, purpose, bound_to.as_bytes(), request.as_bytes()).await.unwrap();
        let event = node.letter(app, 0, |created| Created { dead_letter: id, payload, ..created }).await;
        node.commit(vec![event]).await;
        letters.push(id);
    }
    let batch = picloud_projections::dead_letters::batch(&node.pool, app, &letters).await.unwrap();
    assert!((1..4).contains(&batch.len()), "{} letters at once", batch.len());
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, AT_ONCE).await;
    let (ended, events) = node.until_ended(job).await;
    assert_eq!(ended.counts.done, 8);
    assert_eq!(replayed(&events), letters);
    node.stop().await;
}
