//! State is made again also where the log begins in the middle: of what has gone from it, what still matters was said again.

use chrono::{TimeDelta, Utc};
use picloud_core::{
    event::{
        Class, Event, FailureReason, cron,
        dead_letter::{self, Reason},
        kv,
        outbox::{Attempt, Cancelled, Enqueued, Payload, Rescheduled, Source},
        trigger,
    },
    id::{DataKeyId, DeadLetterId, OutboxId, TriggerId, VersionId},
    keys::Sealed,
    log::{
        Position, Read,
        retention::{archive, carry, drop_archived, due, snapshot},
    },
    retry::RetryPolicy,
};
use picloud_projections::state::{Column, Compared, Difference, What, rebuild};
use serde_json::{json, value::RawValue};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::{
    put_right::{Instance, instance, set},
    writer::{Writer, compared, differing, found},
};

/// Replaces the segments of a fresh database by small ones.
async fn small_segments(pool: &PgPool) {
    let lows: Vec<i64> = sqlx::query_scalar("delete from log.segments returning low").fetch_all(pool).await.unwrap();
    for low in lows {
        for class in ["config", "data", "run"] {
            let drop = sqlx::AssertSqlSafe(format!("drop table log.{class}_{low}"));
            sqlx::query(drop).execute(pool).await.unwrap();
        }
    }
    for _ in 0..6 {
        sqlx::query("select log.add_segment(30)").execute(pool).await.unwrap();
    }
}

fn increased(key: &str, by: i64) -> Event {
    kv::Increased { collection: "carts".to_owned(), key: key.to_owned(), by }.into()
}

fn deleted(key: &str) -> Event {
    kv::Deleted { collection: "carts".to_owned(), key: key.to_owned() }.into()
}

fn owed(item: OutboxId, instance: &Instance) -> Enqueued {
    Enqueued {
        item,
        source: Source::Invoke,
        script: instance.script,
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: Payload::Event(RawValue::from_string("{}".to_owned()).unwrap()),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    }
}

fn letter(dead_letter: DeadLetterId, item: OutboxId, instance: &Instance) -> Event {
    let empty = Sealed { key_id: DataKeyId::generate(), nonce: String::new(), ciphertext: String::new() };
    let created = json!({
        "dead_letter": dead_letter, "item": item, "source": { "kind": "invoke" }, "script": instance.script,
        "script_name": "charge", "version": VersionId::generate(), "retry": RetryPolicy::default(), "payload": empty,
        "enqueued_at": Utc::now(), "attempts": [], "reason": Reason::AttemptsExhausted, "error": "boom",
        "fingerprint": "charge: boom", "depth": 0
    });
    Event::decode("dead_letter.created", &created.to_string()).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Appends until a place is behind the head.
async fn fill(writer: &Writer, instance: &Instance, up_to: i64) {
    while writer.reader.head().await.unwrap().0 < up_to {
        writer.commit(Some(instance.app), vec![increased("filling", 1)]).await.unwrap();
    }
}

/// Lets go of the oldest part of both classes that are not kept for ever.
async fn let_go(pool: &PgPool, writer: &Writer) {
    let later = Utc::now() + TimeDelta::hours(1);
    for class in [Class::Run, Class::Data] {
        let leaf = due(pool, &writer.reader, class, TimeDelta::zero(), later).await.unwrap().unwrap();
        if class == Class::Run {
            carry(pool, &writer.committer, &writer.node, leaf).await.unwrap();
        } else {
            snapshot(pool, &writer.reader, &writer.committer, &writer.node, leaf).await.unwrap();
        }
        archive(pool, &writer.committer, &writer.node, leaf, None).await.unwrap();
    }
    let mut connection = PgConnection::connect_with(pool.connect_options().as_ref()).await.unwrap();
    assert_eq!(drop_archived(&mut connection).await.unwrap(), 2);
}

#[sqlx::test(migrations = "../migrations")]
async fn state_is_what_follows_from_what_is_left_of_the_log(pool: PgPool) {
    small_segments(&pool).await;
    let writer = Writer::start(&pool).await;
    let instance = instance(&writer).await;
    let app = Some(instance.app);
    let [failed, ended, handler, dead] = std::array::from_fn(|_| OutboxId::generate());
    let (trigger, open) = (TriggerId::generate(), DeadLetterId::generate());

    // In the part that goes: written once, counted, written over later, deleted later, and gone already.
    writer
        .commit(app, vec![set("once", "1"), increased("count", 5), set("over", "1"), set("late", "1")])
        .await
        .unwrap();
    writer.commit(app, vec![set("early", "1"), deleted("early")]).await.unwrap();
    let attempt = Attempt {
        number: 1,
        invocation: None,
        at: Utc::now(),
        reason: FailureReason::Threw,
        error: "boom".to_owned(),
        duration_us: 5,
    };
    let due_at = Utc::now() + TimeDelta::hours(40);
    let rescheduled = Rescheduled { item: failed, attempt, due_at };
    writer.commit(app, vec![owed(failed, &instance).into(), rescheduled.into()]).await.unwrap();
    writer.commit(app, vec![owed(ended, &instance).into()]).await.unwrap();
    let handles = Enqueued { handles: Some(open), ..owed(handler, &instance) };
    writer.commit(app, vec![letter(open, dead, &instance), handles.into()]).await.unwrap();
    let definition = trigger::Definition {
        when: serde_json::from_value(json!({ "kind": "cron", "schedule": "* * * * *" })).unwrap(),
        script: instance.script,
        retry: RetryPolicy::default(),
    };
    let registrant = trigger::Registrant { account: None, key: None, scopes: None };
    writer.commit(app, vec![trigger::Created { trigger, definition, registrant }.into()]).await.unwrap();
    let fired = cron::Fired { trigger, due_at: Utc::now(), passed_over: 0, is_skipped: false };
    let reads = vec![Read::Cron { trigger, version: Position::ZERO }];
    writer.commit_after(app, reads, vec![fired.into()]).await.unwrap();
    fill(&writer, &instance, 34).await;
    // In the part that stays.
    writer.commit(app, vec![increased("count", 2), set("over", "2"), deleted("late")]).await.unwrap();
    writer.commit(app, vec![Cancelled { item: ended }.into()]).await.unwrap();
    let handled = dead_letter::HandlerEnded {
        dead_letter: open,
        item: handler,
        invocation: None,
        error: Some("boom".to_owned()),
    };
    writer.commit(app, vec![handled.into(), Cancelled { item: handler }.into()]).await.unwrap();
    let rebuilt = compared(&pool).await;
    assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:#?}");

    let_go(&pool, &writer).await;
    let rebuilt = compared(&pool).await;
    assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:#?}");
    for (table, least) in [("kv", 5), ("outbox", 2), ("cron", 1), ("dead_letter", 1)] {
        assert!(matches!(found(&rebuilt, table), Compared::Same { rows } if *rows >= least), "{table}: {rebuilt:#?}");
    }
    // And again, what was said again going with its part, too.
    fill(&writer, &instance, 95).await;
    for _ in 0..2 {
        writer.commit(app, vec![increased("count", 1)]).await.unwrap();
        let_go(&pool, &writer).await;
        let rebuilt = compared(&pool).await;
        assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:#?}");
    }

    // What is not so is found in what is older than the log, and put right.
    sqlx::query("update state.kv set value = '2' where key = 'once'").execute(&pool).await.unwrap();
    let rebuilt = rebuild(&pool, &["kv".to_owned()], true, |_| {}).await.unwrap();
    let Compared::Different { changed: 1, examples, .. } = &rebuilt[0].compared else { panic!("{rebuilt:?}") };
    let [Difference { what: What::Columns(columns), .. }] = &examples[..] else { panic!("{examples:?}") };
    let [Column { name, .. }] = &columns[..] else { panic!("{columns:?}") };
    assert_eq!(name, "value");
    let once: String =
        sqlx::query_scalar("select value::text from state.kv where key = 'once'").fetch_one(&pool).await.unwrap();
    assert_eq!(once, "1");
    writer.stop().await;
}
