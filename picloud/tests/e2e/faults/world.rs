//! Two nodes on a PostgreSQL of the test's own, senders, and what can go wrong.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use picloud::embedded::{Embedded, Search};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tokio::{task::JoinSet, time::sleep};

use super::{
    dice::Dice,
    truth::{self, Batch},
};
use crate::{
    eventually::eventually,
    home::Home,
    service::{Service, Start, client},
};

const MANIFEST: &str = r#"
app = "shop"
hosts = ["shop.localhost"]

[[script]]
name = "send"
route = "POST /send/:key/:n"

[[script]]
name = "later"
route = "POST /later/:n"
mode = "async"
retry = { max_attempts = 4, backoff = "constant", base_ms = 30 }

[[script]]
name = "work"

[[script]]
name = "audit"

[[trigger]]
kind = "queue"
queue = "work"
script = "work"
retry = { max_attempts = 4, backoff = "constant", base_ms = 30 }

[[trigger]]
kind = "kv"
collection = "done"
script = "audit"
"#;

const SEND: &str = r#"
let n = parse_int(ctx.request.params.n);
queue::send("work", #{ n: n }, #{ key: ctx.request.params.key });
n"#;

/// Now and then it fails, or gives up; what it did then must not be there.
const WORK: &str = r#"
let n = ctx.event.queue.message.n;
let key = ctx.event.queue.key;
let order = kv::collection("order");
let seen = order.get_or(key, []);
seen.push(n);
order.set(key, seen);
kv::collection("done").increment(`${n}`, 1);
let fate = random::int(0, 99);
if fate < 3 { throw retry::never("not this one"); }
if fate < 20 { throw "not now"; }"#;

const LATER: &str = r#"
kv::collection("later").increment(ctx.request.params.n, 1);
if random::int(0, 99) < 20 { throw "not now"; }"#;

const AUDIT: &str = r#"kv::collection("audited").increment(ctx.event.kv.key, 1)"#;

/// Whoever asks a node that stands still asks no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillNode(usize),
    StopNodeForAMoment(usize, u64),
    StopNodePastItsLease(usize),
    CutConnections,
    KillPostgres,
    CancelSomething,
    PauseTheQueue,
}

impl Fault {
    pub fn by_chance(dice: &mut Dice) -> Self {
        let node = usize::try_from(dice.below(2)).expect("one of two");
        match dice.below(100) {
            0..30 => Self::KillNode(node),
            30..50 => Self::StopNodeForAMoment(node, dice.below(900)),
            50..52 => Self::StopNodePastItsLease(node),
            52..76 => Self::CutConnections,
            76..82 => Self::KillPostgres,
            82..92 => Self::CancelSomething,
            _ => Self::PauseTheQueue,
        }
    }
}

pub struct World {
    // Services first: fields are dropped in this order.
    nodes: [Option<Service>; 2],
    homes: [Arc<Home>; 2],
    postgres: Embedded,
    key: String,
    next: u64,
    batches: u64,
    _folder: Home,
}

impl World {
    pub async fn new() -> Self {
        let folder = Home::new();
        let postgres = Embedded::start(&folder.path().join("postgres"), &Search::system()).await.unwrap();
        let homes = [Arc::new(Home::new()), Arc::new(Home::new())];
        let mut world =
            Self { nodes: [None, None], homes, postgres, key: String::new(), next: 0, batches: 0, _folder: folder };
        for node in 0..2 {
            world.start(node).await;
        }
        let home = &world.homes[0];
        home.write("shop/picloud.toml", MANIFEST);
        for (name, source) in [("send", SEND), ("work", WORK), ("later", LATER), ("audit", AUDIT)] {
            home.write(&format!("shop/{name}.rhai"), source);
        }
        home.picloud(&["deploy", "shop"]).await;
        for node in 0..2 {
            eventually("each node serves it", || async {
                let answer = world.node(node).call(Method::GET, "shop.localhost", "/later/1").send().await;
                answer.is_ok_and(|answer| answer.status() == StatusCode::METHOD_NOT_ALLOWED).then_some(())
            })
            .await;
        }
        world
    }

    async fn start(&mut self, node: usize) {
        let master_key = self.homes[0].path().join("master.key").to_str().unwrap().to_owned();
        let start = Start::new(&self.homes[node])
            .with("DATABASE_URL", self.postgres.url())
            .with("PICLOUD_MASTER_KEY_FILE", master_key)
            .with("PICLOUD_KEY", &self.key);
        let service = start.ready().await;
        if self.key.is_empty() {
            service.key().clone_into(&mut self.key);
        }
        self.nodes[node] = Some(service);
    }

    fn node(&self, node: usize) -> &Service {
        self.nodes[node].as_ref().expect("it runs between two faults")
    }

    async fn database(&self) -> PgConnection {
        let options = self.postgres.options();
        eventually("the database is there", || async { PgConnection::connect_with(&options).await.ok() }).await
    }

    pub async fn begin_batch(&mut self) -> Batch {
        self.batches += 1;
        let head = truth::head(&mut self.database().await).await;
        Batch { number: self.batches, after: head, acknowledged: BTreeSet::new() }
    }

    /// Sends some, and lets something go wrong meanwhile.
    pub async fn round(&mut self, dice: &mut Dice, batch: &mut Batch, fault: Fault) {
        let mut senders = JoinSet::new();
        for _ in 0..10 + dice.below(20) {
            self.next += 1;
            let n = self.next;
            let path = match dice.below(4) {
                0 => format!("/later/{n}"),
                _ => format!("/send/{}-{}/{n}", batch.number, dice.below(5)),
            };
            let node = self.node(usize::try_from(dice.below(2)).expect("one of two"));
            let call = node.call(Method::POST, "shop.localhost", &path).timeout(PATIENCE).send();
            let pause = Duration::from_millis(dice.below(300));
            senders.spawn(async move {
                sleep(pause).await;
                let answer = call.await.ok()?;
                matches!(answer.status(), StatusCode::OK | StatusCode::ACCEPTED).then_some(n)
            });
        }
        sleep(Duration::from_millis(dice.below(300))).await;
        self.happen(dice, fault).await;
        batch.acknowledged.extend(senders.join_all().await.into_iter().flatten());
    }

    async fn happen(&mut self, dice: &mut Dice, fault: Fault) {
        match fault {
            Fault::KillNode(node) => {
                let mut service = self.nodes[node].take().expect("it runs between two faults");
                service.kill().await;
                self.start(node).await;
            }
            Fault::StopNodeForAMoment(node, ms) => {
                self.node(node).signal(Signal::STOP);
                sleep(Duration::from_millis(ms)).await;
                self.node(node).signal(Signal::CONT);
            }
            Fault::StopNodePastItsLease(node) => {
                let epoch = self.node(node).epoch();
                self.node(node).signal(Signal::STOP);
                // This one, not one that was killed before.
                eventually("the other declares it dead", || async {
                    let said = self.node(1 - node).said();
                    said.lines().any(|line| line.contains("silent for too long") && line.contains(&epoch)).then_some(())
                })
                .await;
                let mut service = self.nodes[node].take().expect("it runs between two faults");
                service.signal(Signal::CONT);
                let (_, said) = service.ended().await;
                assert!(said.contains("lost its right to write"), "{said}");
                self.start(node).await;
            }
            Fault::CutConnections => {
                let mut database = self.database().await;
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()",
                )
                .execute(&mut database)
                .await
                .unwrap();
            }
            Fault::KillPostgres => {
                let pid = self.postgres.pid().borrow().expect("it is up");
                kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
                let mut up = self.postgres.pid();
                up.wait_for(|now| now.is_some_and(|now| now != pid)).await.unwrap();
                self.database().await.close().await.unwrap();
            }
            Fault::CancelSomething => {
                let mut database = self.database().await;
                let Some(item) = truth::any_pending(&mut database, dice.below(1_000)).await else { return };
                // It may have ended meanwhile, or the node may be busy with the last fault.
                let _ = self.admin(&format!("/apps/shop/outbox/{item}/cancel")).await;
            }
            Fault::PauseTheQueue => {
                self.admin_until("/apps/shop/queues/work/pause").await;
                sleep(Duration::from_millis(dice.below(500))).await;
                self.admin_until("/apps/shop/queues/work/resume").await;
            }
        }
    }

    async fn admin(&self, path: &str) -> Option<StatusCode> {
        let url = format!("{}/api/v1/admin{path}", self.node(0).admin);
        let call = client().post(url).bearer_auth(&self.key).timeout(PATIENCE).json(&serde_json::json!({}));
        Some(call.send().await.ok()?.status())
    }

    async fn admin_until(&self, path: &str) {
        eventually(path, || async { self.admin(path).await.filter(StatusCode::is_success) }).await;
    }

    /// Waits until nothing is pending any more, and compares what there is with what must be.
    pub async fn end_batch(&mut self, batch: Batch) {
        eventually("all work has come to its end", || async {
            (truth::pending(&mut self.database().await).await == 0).then_some(())
        })
        .await;
        batch.check(&mut self.database().await).await;
    }

    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            node.take().expect("it runs between two faults").stop().await;
        }
        self.postgres.stop().await.unwrap();
    }
}
