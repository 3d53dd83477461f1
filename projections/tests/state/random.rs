//! The property: whatever happened, however it was cut into commits and batches, state and views are what a fold of the log from its
//! beginning makes, row for row, in every table.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use picloud_core::{
    event::Event,
    log::{Position, Recorded, jobs, outbox, read::Reader},
};
use picloud_projections::{
    kv,
    state::{Compared, SWEPT},
    views::{self, Schema, View, rebuild as views_rebuild},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sqlx::PgPool;

use crate::{
    history::{Dice, World, as_if_configured},
    writer::{Writer, compared, differing},
};

/// How often all is compared.
const ROUNDS: u8 = 4;

/// What is tried in each.
const COMMITS: usize = 300;

/// Tries what the dice say; how much of it was committed.
async fn live(writer: &Writer, world: &mut World, dice: &mut Dice) -> usize {
    let mut committed = 0;
    let mut tried = 0;
    while tried < COMMITS {
        // So many callers at once: the committer makes batches of them as it likes.
        let callers = 1 + dice.below(6);
        let mut wanted = Vec::new();
        for _ in 0..callers {
            wanted.push(match dice.below(120) {
                0 if world.apps() > 1 => world.delete_app(dice),
                1..=4 if world.apps() < 4 => world.new_app(dice),
                _ if world.apps() == 0 => world.new_app(dice),
                _ => world.commit(dice),
            });
        }
        tried += callers;
        let answers = wanted.into_iter().map(|wanted| {
            let is_folded_by_statements = |event: &Event| {
                matches!(event, Event::CronFired(_) | Event::CronCarriedForward(_) | Event::OutboxCarriedForward(_))
            };
            let reads = if wanted.events.iter().any(is_folded_by_statements) {
                vec![as_if_configured(wanted.app)]
            } else {
                Vec::new()
            };
            writer.commit_after(wanted.app, reads, wanted.events)
        });
        committed += join_all(answers).await.iter().filter(|answer| answer.is_ok()).count();
    }
    committed
}

/// Forgets what has expired and what is nobody's, as a service does.
async fn sweep(pool: &PgPool) {
    kv::sweep(pool).await.unwrap();
    kv::sweep_deleted(pool).await.unwrap();
    outbox::sweep(pool).await.unwrap();
    jobs::sweep(pool).await.unwrap();
}

/// Views as a node folds them: in stretches, now and then by another node.
struct Folded {
    views: Vec<Box<dyn View>>,
    at: Position,
}

impl Folded {
    async fn follow(&mut self, pool: &PgPool, events: &[Recorded], dice: &mut Dice) {
        let mut rest = events;
        while !rest.is_empty() {
            let (stretch, behind) = rest.split_at((1 + dice.below(90)).min(rest.len()));
            rest = behind;
            for view in &mut self.views {
                let mut transaction = pool.begin().await.unwrap();
                if self.at == Position::ZERO || dice.one_in(4) {
                    view.load(&mut transaction, Schema::LIVE).await.unwrap();
                }
                view.take(stretch, &mut transaction, Schema::LIVE).await.unwrap();
                transaction.commit().await.unwrap();
            }
            self.at = stretch.last().unwrap().position;
        }
        for view in &self.views {
            sqlx::query(
                "insert into views.checkpoint (view, version, position) values ($1, $2, $3)
                on conflict (view) do update set position = excluded.position",
            )
            .bind(view.name())
            .bind(view.version())
            .bind(self.at.0)
            .execute(pool)
            .await
            .unwrap();
        }
    }
}

async fn tables(pool: &PgPool, schema: &str) -> BTreeSet<String> {
    let found: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
        where relnamespace = $1::regnamespace and relkind in ('r', 'p') and not relispartition",
    )
    .bind(schema)
    .fetch_all(pool)
    .await
    .unwrap();
    found.into_iter().collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn state_and_views_are_the_fold_of_the_log_row_for_row(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[22; 32]));
    let writer = Writer::start(&pool).await;
    let mut world = World::new(writer.epoch());
    let mut folded = Folded { views: views::all(&Reader::new(pool.clone())), at: Position::ZERO };
    let (mut seen, mut committed) = (BTreeMap::<String, u64>::new(), 0);
    for round in 0..ROUNDS {
        let numbers = vec(any::<u32>(), 60_000).new_tree(&mut runner).unwrap().current();
        let mut dice = Dice(numbers.into_iter());
        committed += live(&writer, &mut world, &mut dice).await;
        if round % 2 == 1 {
            sweep(&pool).await;
        }
        let rebuilt = compared(&pool).await;
        assert_eq!(differing(&rebuilt), [""; 0], "{rebuilt:#?}");
        for one in rebuilt {
            let Compared::Same { rows } = one.compared else { unreachable!("nothing differs") };
            let most = seen.entry(one.table).or_default();
            *most = rows.max(*most);
        }
        folded.follow(&pool, &writer.log(folded.at).await, &mut dice).await;
        for one in views_rebuild::rebuild(&pool, &[], false, |_| {}).await.unwrap() {
            assert!(matches!(one.compared, views_rebuild::Compared::Same { .. }), "{one:?}");
        }
    }
    // Every table there is was compared, and had something in it.
    assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), tables(&pool, "state").await);
    assert!(seen.values().all(|rows| *rows > 0), "{seen:?}");
    let of_views = folded.views.iter().flat_map(|view| view.tables()).map(|table| (*table).to_owned());
    let mut of_views: BTreeSet<String> = of_views.collect();
    // How far each is: of that alone nothing is told by the log.
    of_views.insert("checkpoint".to_owned());
    assert_eq!(of_views, tables(&pool, "views").await);
    let kinds: BTreeSet<&str> = writer.log(Position::ZERO).await.iter().map(|event| event.event.event.kind()).collect();
    let all: BTreeSet<&str> = Event::KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, all, "something of every kind has happened");
    assert!(committed > 500, "{committed} commits were made");
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_may_be_swept_is_of_a_table_that_there_is(pool: PgPool) {
    let tables = tables(&pool, "state").await;
    assert!(SWEPT.iter().all(|(table, ..)| tables.contains(*table)), "{tables:?}");
}
