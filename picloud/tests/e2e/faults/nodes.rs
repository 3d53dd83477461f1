//! Two nodes on a PostgreSQL of the test's own, and what can go wrong with them.

use std::{sync::Arc, time::Duration};

use picloud::embedded::{Embedded, Search};
use picloud_projections::state;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::sleep;

use super::dice::Dice;
use crate::{
    eventually::eventually,
    home::Home,
    service::{Service, Start},
};

/// What goes wrong with nodes and what they lean on.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillNode(usize),
    StopNodeForAMoment(usize, u64),
    StopNodePastItsLease(usize),
    CutConnections,
    KillPostgres,
}

impl Fault {
    pub fn by_chance(dice: &mut Dice) -> Self {
        let node = any_node(dice);
        match dice.below(82) {
            0..30 => Self::KillNode(node),
            30..50 => Self::StopNodeForAMoment(node, dice.below(900)),
            50..52 => Self::StopNodePastItsLease(node),
            52..76 => Self::CutConnections,
            _ => Self::KillPostgres,
        }
    }
}

const SHOP: &str = r#"
app = "shop"
hosts = ["shop.localhost"]

[[script]]
name = "ready"
route = "GET /ready"
"#;

pub fn any_node(dice: &mut Dice) -> usize {
    usize::try_from(dice.below(2)).expect("one of two")
}

pub struct Nodes {
    // Services first: fields are dropped in this order.
    nodes: [Option<Service>; 2],
    homes: [Arc<Home>; 2],
    postgres: Embedded,
    pub key: String,
    _folder: Home,
}

impl Nodes {
    /// Both serve the app, named `shop`, when this returns.
    pub async fn new(manifest: &str, scripts: &[(&str, &str)]) -> Self {
        let folder = Home::new();
        let postgres = Embedded::start(&folder.path().join("postgres"), &Search::system()).await.unwrap();
        let homes = [Arc::new(Home::new()), Arc::new(Home::new())];
        let mut nodes = Self { nodes: [None, None], homes, postgres, key: String::new(), _folder: folder };
        for node in 0..2 {
            nodes.start(node).await;
        }
        let home = &nodes.homes[0];
        home.write("shop/picloud.toml", &format!("{SHOP}{manifest}"));
        home.write("shop/ready.rhai", "true");
        for (name, source) in scripts {
            home.write(&format!("shop/{name}.rhai"), source);
        }
        home.picloud(&["deploy", "shop"]).await;
        for node in 0..2 {
            eventually("each node serves it", || async {
                (nodes.node(node).get("shop.localhost", "/ready").await.1 == "true").then_some(())
            })
            .await;
        }
        nodes
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

    pub fn node(&self, node: usize) -> &Service {
        self.nodes[node].as_ref().expect("it runs between two faults")
    }

    pub async fn database(&self) -> PgConnection {
        let options = self.postgres.options();
        eventually("the database is there", || async { PgConnection::connect_with(&options).await.ok() }).await
    }

    /// Every row of state is what a fold of the log makes, from its first event on.
    pub async fn state_is_the_fold_of_the_log(&self) {
        let pool = PgPool::connect_with(self.postgres.options()).await.unwrap();
        for one in state::rebuild(&pool, &[], false, |_| {}).await.unwrap() {
            assert!(matches!(one.compared, state::Compared::Same { .. }), "{one:?}");
        }
        pool.close().await;
    }

    pub async fn happen(&mut self, fault: Fault) {
        self.revive().await;
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
        }
    }

    /// Who was kept from the database for too long has rightly been declared dead by the other, and has ended.
    async fn revive(&mut self) {
        for node in 0..2 {
            let service = self.nodes[node].as_mut().expect("it runs between two faults");
            if service.is_running() {
                continue;
            }
            let (_, said) = service.ended().await;
            assert!(said.contains("lost its right to write"), "{said}");
            println!("node {node} was declared dead");
            self.start(node).await;
        }
    }

    pub async fn stop(mut self) {
        self.revive().await;
        for node in &mut self.nodes {
            node.take().expect("it runs between two faults").stop().await;
        }
        self.postgres.stop().await.unwrap();
    }
}
