//! A node that appends, and what it has to be asked.

use picloud_core::{
    event::{Actor, Event},
    id::{AppId, NodeEpoch},
    log::{
        Appended, Commit, CommitError, Committed, Committer, CommitterConfig, NewEvent, Node, Position, Read, Recorded,
        read::Reader,
    },
};
use picloud_projections::state::{Compared, Rebuilt, rebuild};
use sqlx::PgPool;
use tokio::{sync::mpsc, task::JoinHandle};

/// A node as `serve` runs it, without a tail.
pub struct Writer {
    pub node: Node,
    pub committer: Committer,
    pub reader: Reader,
    task: JoinHandle<()>,
    _local: mpsc::UnboundedReceiver<Appended>,
}

impl Writer {
    pub async fn start(pool: &PgPool) -> Self {
        let node = Node::register(pool, "test", "0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let options = (*pool.connect_options()).clone();
        let (committer, task) = Committer::start(options, node.epoch(), CommitterConfig::default(), sender, None);
        Self { node, committer, reader: Reader::new(pool.clone()), task, _local: local }
    }

    pub fn epoch(&self) -> NodeEpoch {
        self.node.epoch()
    }

    pub async fn commit(&self, app: Option<AppId>, events: Vec<Event>) -> Result<Committed, CommitError> {
        self.commit_after(app, Vec::new(), events).await
    }

    pub async fn commit_after(
        &self,
        app: Option<AppId>,
        reads: Vec<Read>,
        events: Vec<Event>,
    ) -> Result<Committed, CommitError> {
        let events = events.into_iter().map(|event| NewEvent::new(app, &Actor::SYSTEM, event)).collect();
        self.committer.commit(Commit { reads, ..Commit::new(self.node.authority(), events) }).await
    }

    pub async fn log(&self, after: Position) -> Vec<Recorded> {
        let head = self.reader.head().await.unwrap();
        self.reader.range(after, head, usize::MAX >> 1).await.unwrap()
    }

    pub async fn stop(self) {
        self.committer.close();
        self.task.await.unwrap();
    }
}

/// Compares all of state with the log.
pub async fn compared(pool: &PgPool) -> Vec<Rebuilt> {
    rebuild(pool, &[], false, |_| {}).await.unwrap()
}

/// How a table differs.
pub fn found<'r>(rebuilt: &'r [Rebuilt], table: &str) -> &'r Compared {
    &rebuilt.iter().find(|one| one.table == table).unwrap().compared
}

/// Those that are not as the log says.
pub fn differing(rebuilt: &[Rebuilt]) -> Vec<&str> {
    let differs = |one: &&Rebuilt| !matches!(one.compared, Compared::Same { .. });
    rebuilt.iter().filter(differs).map(|one| one.table.as_str()).collect()
}
