//! What is sealed cannot be changed without being found.

use std::sync::Arc;

use picloud_core::{
    event::{Class, Event, seal::Sealed},
    id::{AppId, HistoryId, InvocationId},
    log::{
        Position, Recorded, Sealer, SealerParts, Seals,
        verify::{Finding, Verified, Wanted, Wrong, verify},
    },
    seal::{Leaf, PublicKey, Seal, SealKey, tree::Tree},
};
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::partitions::segments;
use crate::support::{TestNode, completed, created, set, soon, started};

/// A node that seals.
pub(super) struct Sealing {
    pub(super) node: TestNode,
    key: Arc<SealKey>,
    seals: Seals,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sealing {
    async fn start(database: &PgPool) -> Self {
        Self::with(database, SealKey::from_seed(&[7; 32])).await
    }

    pub(super) async fn with(database: &PgPool, key: SealKey) -> Self {
        let node = TestNode::start(database).await;
        let key = Arc::new(key);
        let (sealer, seals) = Sealer::new(SealerParts {
            database: node.pool.clone(),
            direct: database.connect_options().as_ref().clone(),
            committer: node.committer.clone(),
            tail: node.tail.clone(),
            reader: node.reader.clone(),
            node: node.node,
            history: HistoryId::generate(),
            key: Arc::clone(&key),
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(sealer.run(stop.clone()));
        Self { node, key, seals, stop, task }
    }

    /// Everything that the log holds, once nothing is left to be sealed.
    pub(super) async fn sealed(&self) -> Vec<Recorded> {
        soon(async {
            loop {
                let log = self.node.log().await;
                let up_to = seals(&log).last().map(|(_, seal)| seal.up_to);
                let mut unsealed = log.iter().filter(|recorded| up_to.is_none_or(|up_to| recorded.position > up_to));
                if unsealed.all(|recorded| matches!(recorded.event.event, Event::SealSealed(_))) {
                    return log;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        soon(self.task).await.unwrap();
        self.node.stop().await;
    }
}

fn seals(log: &[Recorded]) -> Vec<(Position, Seal)> {
    let seal = |recorded: &Recorded| match &recorded.event.event {
        Event::SealSealed(Sealed(seal)) => Some((recorded.position, seal.clone())),
        _ => None,
    };
    log.iter().filter_map(seal).collect()
}

/// Some events of each class, sealed by and by.
async fn some_events(sealing: &Sealing, rounds: usize) -> Vec<Recorded> {
    let app = AppId::generate();
    sealing.node.commit(vec![created(app, &app.to_string().to_lowercase())]).await.unwrap();
    for round in 0..rounds {
        let run = InvocationId::generate();
        let begun = started(app, run, sealing.node.epoch());
        let text = set(app, "kéy", &format!(r#"{{"round":{round},"text":"ein Wörtchen"}}"#));
        sealing.node.commit(vec![begun, text, completed(app, run)]).await.unwrap();
        sealing.sealed().await;
    }
    sealing.sealed().await
}

async fn verified(connection: &mut PgConnection, wanted: &Wanted) -> Verified {
    verify(connection, wanted, |_| {}).await.unwrap()
}

fn trusting(key: &SealKey) -> Wanted {
    Wanted { trusted: vec![key.public()], ..Wanted::default() }
}

/// The leaf that an event lies in.
async fn leaf(database: &PgPool, recorded: &Recorded) -> String {
    let low: i64 = sqlx::query_scalar("select max(low) from log.segments where low <= $1")
        .bind(recorded.position.0)
        .fetch_one(database)
        .await
        .unwrap();
    format!("log.{}_{low}", recorded.event.event.class())
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_appended_is_sealed_and_an_idle_log_does_not_grow(database: PgPool) {
    segments(&database, &[9, 9, 1_000]).await;
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 5).await;
    let seals = seals(&log);
    assert!(seals.len() >= 5, "{seals:?}");
    for ((_, seal), (_, next)) in seals.iter().zip(&seals[1..]) {
        assert_eq!((next.number, next.after, next.previous), (seal.number + 1, seal.up_to, seal.hash()));
    }
    for boundary in [9, 18] {
        assert!(seals.iter().any(|(_, seal)| seal.up_to.0 == boundary), "a seal ends with the segment at {boundary}");
    }
    let mut connection = database.acquire().await.unwrap();
    let all = verified(&mut connection, &trusting(&sealing.key)).await;
    assert_eq!(all.findings, []);
    assert_eq!(all.events, log.len() as u64 - 1, "all but the last seal");
    assert_eq!((all.last.as_ref(), all.seals), (seals.last().map(|(_, seal)| seal), seals.len() as u64));

    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(sealing.node.log().await.len(), log.len(), "nothing is sealed for the seals' own sake");

    let part = Wanted { after: Position(12), up_to: Some(Position(17)), ..trusting(&sealing.key) };
    let part = verified(&mut connection, &part).await;
    assert_eq!(part.findings, []);
    assert!((5..15).contains(&part.events), "{}", part.events);
    sealing.stop().await;
}

/// Changes something, looks, and undoes it.
async fn tampered(database: &PgPool, wanted: &Wanted, statement: &str) -> Vec<Finding> {
    let mut transaction = database.begin().await.unwrap();
    let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await;
    let changed = changed.unwrap_or_else(|error| panic!("{statement}: {error}"));
    assert_eq!(changed.rows_affected(), 1, "{statement}");
    let found = verified(&mut transaction, wanted).await;
    transaction.rollback().await.unwrap();
    found.findings
}

#[sqlx::test(migrations = "../migrations")]
async fn a_changed_byte_of_any_sealed_event_is_found_where_it_is(database: PgPool) {
    segments(&database, &[9, 1_000]).await;
    // What a text says is checked on its way in; whoever writes to the disk is not checked.
    sqlx::query("create cast (text as json) without function").execute(&database).await.unwrap();
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 3).await;
    let wanted = trusting(&sealing.key);
    sealing.stop().await;
    let (last, sealed) = log.split_last().unwrap();
    for recorded in sealed {
        let (leaf, position) = (leaf(&database, recorded).await, recorded.position);
        let mut changes: Vec<String> = ["app_id", "cause", "root"]
            .iter()
            .map(|column| format!("{column} = case when {column} is null then '{}'::uuid end", uuid::Uuid::max()))
            .collect();
        changes.push(format!("id = '{}'", uuid::Uuid::from_u128(recorded.event.id.uuid().as_u128() ^ 1)));
        changes.push("at = at + interval '1 microsecond'".into());
        changes.push("depth = depth + 1".into());
        let event = &recorded.event;
        let kind = event.event.kind();
        for (column, text) in
            [("data", &*event.data), ("actor", &event.actor_json), ("subject", &event.subject), ("kind", kind)]
        {
            for byte in (0..text.len()).step_by(text.len() / 8 + 1) {
                let mut bytes = text.as_bytes().to_vec();
                bytes[byte] ^= 1;
                let other = String::from_utf8(bytes).unwrap().replace('\'', "''");
                let kind = if ["data", "actor"].contains(&column) { "json" } else { "text" };
                changes.push(format!("{column} = '{other}'::text::{kind}"));
            }
        }
        for change in changes {
            let findings =
                tampered(&database, &wanted, &format!("update {leaf} set {change} where position = {position}")).await;
            assert_eq!(findings.first().map(|finding| finding.position), Some(position), "{change}: {findings:?}");
            assert!(
                findings.contains(&Finding { position, wrong: Wrong::Changed })
                    || matches!(recorded.event.event, Event::SealSealed(_)),
                "{change}: {findings:?}"
            );
        }
        // Into another segment, its leaf does not let it.
        if !leaf.ends_with("_1") {
            let away = format!("update {leaf} set position = position + 500 where position = {position}");
            let findings = tampered(&database, &wanted, &away).await;
            assert_eq!(findings.first(), Some(&Finding { position, wrong: Wrong::Missing }));
        }
    }
    // Nothing vouches for the last seal but its signature.
    let leaf = leaf(&database, last).await;
    let Event::SealSealed(Sealed(seal)) = &last.event.event else { panic!("the last event is a seal") };
    for (text, other) in [(seal.signature.clone(), "A".repeat(86)), (seal.previous.to_string(), "A".repeat(43))] {
        let data = last.event.data.replace(&text, &other);
        let statement = format!("update {leaf} set data = '{data}' where position = {}", last.position);
        let findings = tampered(&database, &wanted, &statement).await;
        let wrong = Wrong::Seal { number: Some(seal.number) };
        assert!(findings.contains(&Finding { position: last.position, wrong }), "{findings:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_taken_out_or_put_in_is_found(database: PgPool) {
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 4).await;
    let wanted = trusting(&sealing.key);
    for recorded in &log[..log.len() - 1] {
        let (leaf, position) = (leaf(&database, recorded).await, recorded.position);
        let gone = tampered(&database, &wanted, &format!("delete from {leaf} where position = {position}")).await;
        let missing = Finding { position, wrong: Wrong::Missing };
        assert!(gone.contains(&missing), "{position}: {gone:?}");
        assert_eq!(gone[0].position, position, "{gone:?}");
        if recorded.event.event.class() == Class::Data {
            let copy = format!(
                "insert into log.run select position, id, at, app_id, 'invocation.started', subject, data, actor, cause,
                    root, depth, 'run' from {leaf} where position = {position}"
            );
            let more = tampered(&database, &wanted, &copy).await;
            assert_eq!(more, [Finding { position, wrong: Wrong::Added }]);
        }
    }
    // Without the marks, or with others, it is known that something is wrong, and about where.
    let recorded = log.iter().find(|recorded| recorded.event.event.class() == Class::Data).unwrap();
    let leaf = leaf(&database, recorded).await;
    let mut transaction = database.begin().await.unwrap();
    let spoil = format!("update {leaf} set depth = 3 where position = {}", recorded.position);
    sqlx::raw_sql(sqlx::AssertSqlSafe(spoil)).execute(&mut *transaction).await.unwrap();
    sqlx::query("delete from live.seal_marks").execute(&mut *transaction).await.unwrap();
    let found = verified(&mut transaction, &wanted).await.findings;
    assert!(
        matches!(found[..], [Finding { position, wrong: Wrong::Somewhere { class: Class::Data, up_to } }]
            if (position..=up_to).contains(&recorded.position)),
        "{found:?}"
    );
    transaction.rollback().await.unwrap();
    sealing.stop().await;
}

/// Takes away all that came after a seal, that seal's own event left in.
async fn cut(database: &PgPool, last: Position) {
    for class in Class::ALL {
        let sql = format!("delete from log.{class} where position > {last}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(database).await.unwrap();
    }
    sqlx::query("delete from live.seal_marks").execute(database).await.unwrap();
    sqlx::query("update log.writer set token = gen_random_uuid()").execute(database).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_log_that_was_cut_and_written_anew_is_not_that_of_the_anchor(database: PgPool) {
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 4).await;
    let wanted = trusting(&sealing.key);
    sealing.stop().await;
    let seals = seals(&log);
    let ((kept, _), (_, anchor)) = (seals[1].clone(), seals[3].clone());
    let anchored = Wanted { anchors: vec![anchor.clone()], ..wanted.clone() };
    let mut connection = database.acquire().await.unwrap();
    assert_eq!(verified(&mut connection, &anchored).await.findings, []);

    cut(&database, kept).await;
    // What is left is a log that was sealed: only who kept something of it knows better.
    assert_eq!(verified(&mut connection, &wanted).await.findings, []);
    let found = verified(&mut connection, &anchored).await.findings;
    assert!(matches!(found[..], [Finding { wrong: Wrong::Cut { number: 4 }, .. }]), "{found:?}");

    let sealing = Sealing::start(&database).await;
    some_events(&sealing, 4).await;
    sealing.stop().await;
    assert_eq!(verified(&mut connection, &wanted).await.findings, []);
    let found = verified(&mut connection, &anchored).await.findings;
    assert!(matches!(found[..], [Finding { wrong: Wrong::Anchor { number: 4, .. }, .. }]), "{found:?}");

    let mut forged = anchor;
    forged.number = 3;
    let found = verified(&mut connection, &Wanted { anchors: vec![forged], ..wanted }).await.findings;
    assert!(found.iter().any(|finding| finding.wrong == Wrong::BadAnchor { number: 3 }), "{found:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn who_has_not_the_key_cannot_seal(database: PgPool) {
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 2).await;
    let wanted = trusting(&sealing.key);
    sealing.stop().await;
    // A whole log, sealed by somebody else.
    let other = Sealing::with(&database, SealKey::from_seed(&[8; 32])).await;
    some_events(&other, 1).await;
    let key: PublicKey = other.key.public();
    other.stop().await;
    let mut connection = database.acquire().await.unwrap();
    let found = verified(&mut connection, &wanted).await.findings;
    assert!(matches!(&found[..], [Finding { wrong: Wrong::Key { key: found }, .. }] if *found == key), "{found:?}");
    assert_eq!(verified(&mut connection, &Wanted::default()).await.keys.len(), 2);

    // The last seal, changed: nobody goes on behind it.
    let last = seals(&log).pop().unwrap().0;
    cut(&database, last).await;
    sqlx::query(
        "update log.config set data = replace(data::text, '\"count\":', '\"count\":1')::json where position = $1",
    )
    .bind(last.0)
    .execute(&database)
    .await
    .unwrap();
    let sealing = Sealing::start(&database).await;
    sealing.node.commit(vec![created(AppId::generate(), "late")]).await.unwrap();
    soon(async {
        while sealing.seals.trouble().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(sealing.seals.trouble().unwrap().contains("was changed or forged"));
    sealing.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_forges_all_seals_from_one_on_is_found_at_the_first(database: PgPool) {
    let sealing = Sealing::start(&database).await;
    let log = some_events(&sealing, 4).await;
    let wanted = trusting(&sealing.key);
    let sealed = seals(&log);
    let (changed, _) = &sealed[1];
    sqlx::query("update log.data set data = replace(data::text, '\"round\":1', '\"round\":7')::json")
        .execute(&database)
        .await
        .unwrap();
    // All that can be done without the key: each seal says what is there now, and follows the one before.
    let mut before = sealed[0].1.clone();
    for (position, seal) in &sealed[1..] {
        let there = sealing.node.reader.range(seal.after, seal.up_to, 1_000).await.unwrap();
        let mut seal = Seal { previous: before.hash(), ..seal.clone() };
        for root in &mut seal.classes {
            let mut tree = Tree::default();
            let of_class = there.iter().filter(|recorded| recorded.event.event.class() == root.class);
            of_class.for_each(|recorded| tree.add(Leaf::of(recorded).hash()));
            (root.count, root.root) = (tree.count(), tree.root());
        }
        sqlx::query("update log.config set data = $1::text::json where position = $2")
            .bind(serde_json::to_string(&seal).unwrap())
            .bind(position.0)
            .execute(&database)
            .await
            .unwrap();
        before = seal;
    }
    sealing.stop().await;

    let mut connection = database.acquire().await.unwrap();
    let found = verified(&mut connection, &wanted).await.findings;
    let forged: Vec<_> = found.iter().map(|finding| (finding.position, &finding.wrong)).collect();
    let (first, last) = (&sealed[1].1, sealed.last().unwrap());
    let is = |number| Wrong::Seal { number: Some(number) };
    assert_eq!(forged, [(*changed, &is(first.number)), (last.0, &is(last.1.number))]);
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_nodes_one_seals_and_the_other_takes_over(database: PgPool) {
    let (first, second) = (Sealing::start(&database).await, Sealing::start(&database).await);
    some_events(&first, 2).await;
    let key = Arc::clone(&second.key);
    first.stop().await;
    let log = some_events(&second, 2).await;
    second.stop().await;
    let numbers: Vec<u64> = seals(&log).iter().map(|(_, seal)| seal.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let mut connection = database.acquire().await.unwrap();
    assert_eq!(verified(&mut connection, &trusting(&key)).await.findings, []);
}
