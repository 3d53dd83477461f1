//! What does not follow from the log is named, and put right, while whoever appends goes on.

use picloud_core::{
    event::{
        Event, account, app, env, kv,
        outbox::{Enqueued, Payload, Source},
        script, trigger,
    },
    id::{AccountId, AppId, OutboxId, ScriptId, TriggerId, VersionId},
    limits::Limits,
    log::Position,
    policy::InstanceRole,
    retry::RetryPolicy,
};
use picloud_projections::state::{Column, Compared, Difference, RebuildError, What, rebuild};
use serde_json::{json, value::RawValue};
use sqlx::PgPool;

use crate::writer::{Writer, compared, differing, found};

pub fn set(key: &str, value: &str) -> Event {
    let value = RawValue::from_string(value.to_owned()).unwrap();
    kv::Set { collection: "carts".to_owned(), key: key.to_owned(), value, expires_at: None }.into()
}

/// An instance with a little of most things.
pub struct Instance {
    pub app: AppId,
    pub script: ScriptId,
    pub trigger: TriggerId,
    pub item: OutboxId,
    pub account: AccountId,
}

pub async fn instance(writer: &Writer) -> Instance {
    let ids = Instance {
        app: AppId::generate(),
        script: ScriptId::generate(),
        trigger: TriggerId::generate(),
        item: OutboxId::generate(),
        account: AccountId::generate(),
    };
    let Instance { app, script, trigger, item, account } = ids;
    let deployed = script::Deployed {
        script,
        name: "charge".to_owned(),
        script_kind: script::ScriptKind::Endpoint,
        version: VersionId::generate(),
        number: 1,
        source: "1".to_owned(),
        sha256: String::new(),
        imports: Vec::new(),
        limits: Limits::default(),
        message: None,
    };
    let definition = trigger::Definition {
        when: serde_json::from_value(json!({ "kind": "kv", "collection": "orders" })).unwrap(),
        script,
        retry: RetryPolicy::default(),
    };
    let registrant = trigger::Registrant { account: None, key: None, scopes: None };
    let owed = Enqueued {
        item,
        source: Source::Invoke,
        script,
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
    };
    let (email, name) = ("ada@example.com".to_owned(), "Ada".to_owned());
    let created = account::Created { account, email, name, role: InstanceRole::Member };
    writer.commit(None, vec![created.into()]).await.unwrap();
    let events: Vec<Event> = vec![
        app::Created { app, slug: "shop".to_owned() }.into(),
        deployed.into(),
        trigger::Created { trigger, definition, registrant }.into(),
        env::Set { name: "CURRENCY".to_owned(), value: "EUR".to_owned() }.into(),
    ];
    writer.commit(Some(app), events).await.unwrap();
    writer.commit(Some(app), vec![set("a", "1"), set("b", "{\"z\": 1}"), owed.into()]).await.unwrap();
    ids
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn rows_that_do_not_follow_from_the_log_are_named_by_key_and_column_and_put_right(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let Instance { app, trigger, item, account, .. } = instance(&writer).await;
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    execute(
        &pool,
        "update state.kv set value = '2' where key = 'a'; delete from state.kv where key = 'b';
        insert into state.kv (app_id, collection, key, value, position)
        select app_id, collection, 'c', '7', position from state.kv where key = 'a';
        update state.env set value = 'USD'; update state.account set role = 'owner';
        update state.trigger set is_enabled = false; delete from state.outbox; delete from live.ready",
    )
    .await;
    // One that has read the wrong ones.
    let misled = Writer::start(&pool).await;
    misled.commit(Some(app), vec![set("d", "1")]).await.unwrap();

    let rebuilt = compared(&pool).await;
    assert_eq!(differing(&rebuilt), ["account", "env", "trigger", "kv", "outbox"].as_slice().sorted(&rebuilt));
    let Compared::Different { only_table: 1, only_log: 1, changed: 1, examples } = found(&rebuilt, "kv") else {
        panic!("{rebuilt:#?}")
    };
    let key = |key: &str| format!("app_id={} collection=carts key={key}", app.uuid());
    let position = sqlx::query_scalar::<_, i64>("select position from state.kv where key = 'a'").fetch_one(&pool);
    let position = position.await.unwrap();
    let row = |key: &str, value: &str, position: i64| {
        format!(
            "{{\"app_id\":\"{}\",\"collection\":\"carts\",\"key\":\"{key}\",\"value\":{value},\"expires_at\":null,\
             \"position\":{position}}}",
            app.uuid()
        )
    };
    let column = |name: &str, log: &str, table: &str| {
        What::Columns(vec![Column { name: name.to_owned(), log: log.to_owned(), table: table.to_owned() }])
    };
    let wanted = [
        Difference { key: key("a"), what: column("value", "1", "2") },
        Difference { key: key("b"), what: What::OnlyLog { row: row("b", "{\"z\": 1}", position + 1) } },
        Difference { key: key("c"), what: What::OnlyTable { row: row("c", "7", position) } },
    ];
    assert_eq!(examples[..], wanted);
    let one = |table: &str| match found(&rebuilt, table) {
        Compared::Different { examples, .. } if examples.len() == 1 => examples[0].clone(),
        other => panic!("{table}: {other:?}"),
    };
    let key = format!("id={}", account.uuid());
    assert_eq!(one("account"), Difference { key, what: column("role", "\"member\"", "\"owner\"") });
    let key = format!("id={}", trigger.uuid());
    assert_eq!(one("trigger"), Difference { key, what: column("is_enabled", "true", "false") });
    assert_eq!(one("env").what, column("value", "\"EUR\"", "\"USD\""));
    assert!(matches!(one("outbox").what, What::OnlyLog { row } if row.contains(&item.uuid().to_string())));

    // Only what is named.
    let head = writer.reader.head().await.unwrap();
    let put_right = rebuild(&pool, &["env".to_owned()], true, |_| {}).await.unwrap();
    assert_eq!(put_right.iter().map(|one| (&*one.table, one.put_right)).collect::<Vec<_>>(), [("env", Some(1))]);
    let put_right = rebuild(&pool, &[], true, |_| {}).await.unwrap();
    let rows: Vec<_> = put_right.iter().filter_map(|one| Some((&*one.table, one.put_right?))).collect();
    assert_eq!(rows.iter().map(|(_, rows)| rows).sum::<u64>(), 6, "{rows:?}");
    assert!(rows.contains(&("kv", 3)) && rows.len() == 4, "{rows:?}");
    assert_eq!(differing(&compared(&pool).await), [""; 0]);

    // The log says so, what is owed is to be run, and whoever appends matches what is committed against the trigger again.
    let told = writer.log(head).await;
    assert!(told.len() == 2 && told.iter().all(|event| event.event.event.kind() == "projection.rebuilt"), "{told:?}");
    let ready: Vec<uuid::Uuid> = sqlx::query_scalar("select item from live.ready").fetch_all(&pool).await.unwrap();
    assert_eq!(ready, [item.uuid()]);
    let order = kv::Set {
        collection: "orders".to_owned(),
        key: "1".to_owned(),
        value: RawValue::from_string("1".to_owned()).unwrap(),
        expires_at: None,
    };
    let committed = misled.commit(Some(app), vec![order.into()]).await.unwrap();
    assert_eq!(committed.last, Position(committed.first.0 + 1), "the entry, and the run that it owes");
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    misled.stop().await;
    writer.stop().await;
}

/// Names in the order in which tables are compared.
trait Sorted {
    fn sorted(&self, rebuilt: &[picloud_projections::state::Rebuilt]) -> Vec<String>;
}

impl Sorted for [&str] {
    fn sorted(&self, rebuilt: &[picloud_projections::state::Rebuilt]) -> Vec<String> {
        rebuilt.iter().map(|one| one.table.clone()).filter(|table| self.contains(&table.as_str())).collect()
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_went_with_its_parent_comes_back_with_it(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let Instance { script, .. } = instance(&writer).await;
    execute(&pool, "delete from state.trigger; delete from state.app").await;
    let gone = differing(&compared(&pool).await).len();
    assert!(gone >= 5, "the app, its script, its version, its trigger and its env: {gone}");
    // A child alone cannot come back, and nothing is half done.
    let refused = rebuild(&pool, &["version".to_owned()], true, |_| {}).await;
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.starts_with("rows of `version` cannot be put right: `version_script_id_fkey`"), "{refused}");
    rebuild(&pool, &[], true, |_| {}).await.unwrap();
    assert_eq!(differing(&compared(&pool).await), [""; 0]);

    // Of two rows the wrong one has the other's name.
    sqlx::query("update state.script set id = $1 where id = $2")
        .bind(ScriptId::generate().uuid())
        .bind(script.uuid())
        .execute(&pool)
        .await
        .unwrap_err();
    execute(
        &pool,
        "delete from state.trigger; delete from state.script;
        insert into state.script (id, app_id, name, kind, created_at, position)
        select gen_random_uuid(), id, 'charge', 'endpoint', created_at, 1 from state.app",
    )
    .await;
    rebuild(&pool, &[], true, |_| {}).await.unwrap();
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn more_than_fits_one_transaction_is_put_right_in_several(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let Instance { app, .. } = instance(&writer).await;
    for n in 0..5 {
        let entries = (0..1_000).map(|m| set(&format!("many/{n}/{m}"), "1")).collect();
        writer.commit(Some(app), entries).await.unwrap();
    }
    execute(
        &pool,
        "delete from state.kv where key like 'many/1/%' or key like 'many/2/%'; update state.kv set value = '0'",
    )
    .await;
    let head = writer.reader.head().await.unwrap();
    let rebuilt = rebuild(&pool, &[], true, |_| {}).await.unwrap();
    let one = rebuilt.iter().find(|one| one.table == "kv").unwrap();
    let Compared::Different { only_table: 0, only_log: 2_000, changed: 3_002, examples } = &one.compared else {
        panic!("{:?}", one.compared)
    };
    assert_eq!((examples.len(), one.put_right), (10, Some(5_002)));
    assert_eq!(writer.log(head).await.len(), 11, "five hundred rows at once");
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_table_that_there_is_not_is_named_with_those_that_there_are(pool: PgPool) {
    let refused = rebuild(&pool, &["kvs".to_owned()], false, |_| {}).await;
    let Err(error @ RebuildError::Unknown { .. }) = refused else { panic!("{refused:?}") };
    let said = error.to_string();
    assert!(said.starts_with("there is no table `kvs` in state: there are `") && said.contains("`kv`"), "{said}");
}
