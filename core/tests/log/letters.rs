//! Dead letters and the jobs that decide about them: counted as they change, worked on by one node at a time.

use std::collections::BTreeMap;

use chrono::Utc;
use picloud_core::{
    event::{
        dead_letter::{Closing, Created, Purged, Reason, Replayed, Resolved},
        job::{Action, CancellationRequested, Chosen, Counts, Ended, Outcome, Progressed, Started},
        outbox::Source,
    },
    id::{AppId, DataKeyId, DeadLetterId, JobId, OutboxId, ScriptId},
    keys::Sealed,
    log::{CommitError, Position, Read, Rejected, jobs, node::revoke},
    retry::RetryPolicy,
};
use sqlx::PgPool;

use crate::support::{TestNode, event};

fn created(dead_letter: DeadLetterId, script: ScriptId) -> Created {
    Created {
        dead_letter,
        item: OutboxId::generate(),
        source: Source::Invoke,
        script,
        script_name: "charge".to_owned(),
        version: None,
        lane: None,
        priority: 0,
        retry: RetryPolicy::default(),
        enqueued_at: Utc::now(),
        reason: Reason::AttemptsExhausted,
        error: "boom".to_owned(),
        fingerprint: "charge: boom".to_owned(),
        attempts: Vec::new(),
        payload: Sealed { key_id: DataKeyId::generate(), nonce: String::new(), ciphertext: String::new() },
    }
}

/// Makes letters of a script.
async fn letters(node: &TestNode, app: AppId, script: ScriptId, count: usize) -> Vec<DeadLetterId> {
    let ids: Vec<_> = (0..count).map(|_| DeadLetterId::generate()).collect();
    node.commit(ids.iter().map(|id| event(app, created(*id, script))).collect()).await.unwrap();
    ids
}

fn replayed(dead_letter: DeadLetterId) -> Replayed {
    Replayed { dead_letter, item: OutboxId::generate(), is_edited: false, version: None, job: None }
}

fn resolved(dead_letter: DeadLetterId, resolution: Closing) -> Resolved {
    Resolved { dead_letter, resolution, reason: None, job: None }
}

type Counted = BTreeMap<(AppId, ScriptId, String), i64>;

/// What the counters say, and what there is; without what is none.
async fn counted(pool: &PgPool) -> (Counted, Counted) {
    let told = sqlx::query!("select app_id, script_id, resolution, letters from state.dead_letter_count");
    let told = told.fetch_all(pool).await.unwrap().into_iter().filter(|row| row.letters != 0);
    let there = sqlx::query!(
        r#"select app_id, script_id, coalesce(resolution, 'none') as "resolution!", count(*) as "letters!"
        from state.dead_letter group by 1, 2, 3"#
    );
    let there = there.fetch_all(pool).await.unwrap().into_iter();
    let told = told.map(|row| ((row.app_id.into(), row.script_id.into(), row.resolution), row.letters));
    let there = there.map(|row| ((row.app_id.into(), row.script_id.into(), row.resolution), row.letters));
    (told.collect(), there.collect())
}

#[sqlx::test(migrations = "../migrations")]
async fn letters_are_counted_by_app_script_and_resolution_whatever_becomes_of_them(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (shop, other) = (AppId::generate(), AppId::generate());
    let (charge, mail) = (ScriptId::generate(), ScriptId::generate());
    let charges = letters(&node, shop, charge, 5).await;
    let mails = letters(&node, shop, mail, 2).await;
    letters(&node, other, charge, 3).await;

    let once = vec![
        event(shop, replayed(charges[0])),
        event(shop, resolved(charges[1], Closing::Ignored)),
        event(shop, resolved(charges[2], Closing::HandledByScript)),
        event(shop, replayed(mails[0])),
    ];
    node.commit(once).await.unwrap();
    let (told, there) = counted(&node.pool).await;
    let count = |script, resolution: &str| told.get(&(shop, script, resolution.to_owned())).copied();
    assert_eq!((count(charge, "none"), count(charge, "replayed"), count(mail, "none")), (Some(2), Some(1), Some(1)));
    assert_eq!(told.get(&(other, charge, "none".to_owned())), Some(&3));
    assert_eq!(told, there);

    // Decided again within a commit, decided alike twice, gone at once, gone twice, never there: nothing is lost count of.
    let rest = vec![
        event(shop, resolved(charges[3], Closing::Ignored)),
        event(shop, resolved(charges[3], Closing::Ignored)),
        event(shop, replayed(charges[3])),
        event(shop, Purged { dead_letter: charges[0] }),
        event(shop, Purged { dead_letter: charges[0] }),
        event(shop, replayed(charges[0])),
        event(shop, replayed(DeadLetterId::generate())),
        event(shop, created(DeadLetterId::generate(), mail)),
    ];
    node.commit(rest).await.unwrap();
    let (told, there) = counted(&node.pool).await;
    assert_eq!(told, there);
    assert_eq!(told.values().sum::<i64>(), 10);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_letters_that_were_looked_at_together_each_must_be_as_it_was(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let ids = letters(&node, app, ScriptId::generate(), 3).await;
    let seen = sqlx::query!("select id, position from state.dead_letter").fetch_all(&node.pool).await.unwrap();
    let reads: Vec<Read> = seen
        .iter()
        .map(|row| Read::DeadLetter { dead_letter: row.id.into(), version: Position(row.position) })
        .collect();
    let decide = || ids.iter().map(|id| event(app, replayed(*id))).collect::<Vec<_>>();
    node.commit(vec![event(app, resolved(ids[1], Closing::Ignored))]).await.unwrap();
    let stale = node.commit_after(reads.clone(), decide()).await;
    assert_eq!(stale, Err(CommitError::Rejected(Rejected::Stale)));
    let open = sqlx::query_scalar!(r#"select count(*) as "n!" from state.dead_letter where resolution is null"#);
    assert_eq!(open.fetch_one(&node.pool).await.unwrap(), 2, "nothing of it was written");

    let fresh = reads
        .into_iter()
        .filter(|read| !matches!(read, Read::DeadLetter { dead_letter, .. } if *dead_letter == ids[1]));
    let events = vec![event(app, replayed(ids[0])), event(app, replayed(ids[2]))];
    node.commit_after(fresh.collect(), events).await.unwrap();
    node.stop().await;
}

fn started(job: JobId, letters: Vec<DeadLetterId>) -> Started {
    Started { job, action: Action::ReplayLetters, chosen: Chosen::default(), per_second: 200, letters }
}

fn ended(job: JobId) -> Ended {
    let counts = Counts { done: 1, ..Counts::default() };
    Ended { job, outcome: Outcome::Done, counts, error: None }
}

/// A job's id that sorts behind those made before it.
fn later(n: u64) -> JobId {
    ulid::Ulid::from_parts(n, 0).into()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_works_on_the_oldest_open_job_of_each_app_and_another_only_once_it_is_dead(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (shop, other) = (AppId::generate(), AppId::generate());
    let (first, second, third) = (later(1), later(2), later(3));
    for (app, job) in [(shop, first), (shop, second), (other, third)] {
        one.commit(vec![event(app, started(job, vec![DeadLetterId::generate()]))]).await.unwrap();
    }
    let mut claimed = jobs::claim(&one.pool, one.epoch()).await.unwrap();
    claimed.sort();
    assert_eq!(claimed, [first, third]);
    assert!(jobs::claim(&two.pool, two.epoch()).await.unwrap().is_empty(), "somebody works on them");
    assert!(jobs::claim(&one.pool, one.epoch()).await.unwrap().is_empty(), "and knows");

    one.commit(vec![event(shop, ended(first))]).await.unwrap();
    assert_eq!(jobs::claim(&two.pool, two.epoch()).await.unwrap(), [second], "its turn has come");
    revoke(&one.pool, one.epoch()).await.unwrap();
    assert_eq!(jobs::claim(&two.pool, two.epoch()).await.unwrap(), [third], "whose node is dead");

    // What is over is forgotten, what is not is still somebody's.
    two.commit(vec![event(other, ended(third))]).await.unwrap();
    jobs::sweep(&two.pool).await.unwrap();
    let left = sqlx::query_scalar!("select job from live.job_lease").fetch_all(&two.pool).await.unwrap();
    assert_eq!(left, [second.uuid()]);
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_is_as_its_events_say(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, job) = (AppId::generate(), JobId::generate());
    let letters: Vec<_> = (0..3).map(|_| DeadLetterId::generate()).collect();
    node.commit(vec![event(app, started(job, letters.clone()))]).await.unwrap();
    let counts = Counts { done: 1, failed: 1, trouble: Some("why".to_owned()), ..Counts::default() };
    let (first, second) = (event(app, CancellationRequested { job }), event(app, CancellationRequested { job }));
    let wish = first.id;
    node.commit(vec![event(app, Progressed { job, counts: counts.clone() }), first, second]).await.unwrap();
    let row = || sqlx::query!("select * from state.job where id = $1", job.uuid()).fetch_one(&node.pool);
    let open = row().await.unwrap();
    assert_eq!(open.letters, letters.iter().map(|letter| letter.uuid()).collect::<Vec<_>>());
    assert_eq!((open.total, open.done, open.skipped, open.failed), (3, 1, 0, 1));
    assert_eq!((open.cancellation, open.trouble.as_deref()), (Some(wish.uuid()), Some("why")), "who asked first");

    let over = Ended { job, outcome: Outcome::Cancelled, counts, error: None };
    node.commit(vec![event(app, over), event(app, CancellationRequested { job })]).await.unwrap();
    let over = row().await.unwrap();
    assert_eq!((over.outcome.as_deref(), over.letters.len(), over.total), (Some("cancelled"), 0, 3));
    assert_eq!(over.cancellation, Some(wish.uuid()), "what is over stays as it is");
    node.stop().await;
}
