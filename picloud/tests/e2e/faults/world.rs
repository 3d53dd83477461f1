//! Senders to two nodes, and what can go wrong with them and with what they send.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{Method, StatusCode};
use tokio::{task::JoinSet, time::sleep};

use super::{
    dice::Dice,
    nodes::{self, Nodes, any_node},
    truth::{self, Batch},
};
use crate::{eventually::eventually, service::client};

const MANIFEST: &str = r#"
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
    Of(nodes::Fault),
    CancelSomething,
    PauseTheQueue,
}

impl Fault {
    pub fn by_chance(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..82 => Self::Of(nodes::Fault::by_chance(dice)),
            82..92 => Self::CancelSomething,
            _ => Self::PauseTheQueue,
        }
    }
}

pub struct World {
    nodes: Nodes,
    next: u64,
    batches: u64,
}

impl World {
    pub async fn new() -> Self {
        let scripts = [("send", SEND), ("work", WORK), ("later", LATER), ("audit", AUDIT)];
        Self { nodes: Nodes::new(MANIFEST, &scripts).await, next: 0, batches: 0 }
    }

    pub async fn begin_batch(&mut self) -> Batch {
        self.batches += 1;
        let head = truth::head(&mut self.nodes.database().await).await;
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
            let node = self.nodes.node(any_node(dice));
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
            Fault::Of(fault) => self.nodes.happen(fault).await,
            Fault::CancelSomething => {
                let mut database = self.nodes.database().await;
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
        let url = format!("{}/api/v1/admin{path}", self.nodes.node(0).admin);
        let call = client().post(url).bearer_auth(&self.nodes.key).timeout(PATIENCE).json(&serde_json::json!({}));
        Some(call.send().await.ok()?.status())
    }

    async fn admin_until(&self, path: &str) {
        eventually(path, || async { self.admin(path).await.filter(StatusCode::is_success) }).await;
    }

    /// Waits until nothing is pending any more, and compares what there is with what must be.
    pub async fn end_batch(&mut self, batch: Batch) {
        eventually("all work has come to its end", || async {
            (truth::pending(&mut self.nodes.database().await).await == 0).then_some(())
        })
        .await;
        batch.check(&mut self.nodes.database().await).await;
        self.nodes.state_is_the_fold_of_the_log().await;
    }

    pub async fn stop(self) {
        self.nodes.stop().await;
    }
}
