//! Many items that wait, made quickly.
//!
//! A paused app takes no calls, so they are owed by another node, which is this process: it seals requests as the data plane
//! does and commits them through a committer of its own. What lies in the log and the tables then is what async calls leave.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use picloud_core::{
    event::{
        Actor, ActorKind,
        message::Sent,
        outbox::{Enqueued, Source},
    },
    id::OutboxId,
    log::{Commit, Committer, CommitterConfig, NewEvent, Node, StatusToken},
    outbox::{Kept, Plain},
    retry::RetryPolicy,
    run::{Record, Request},
};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::instance::Instance;

/// As all calls of the benchmark have it.
const BODY: &str = r#"{"name":"zed","count":7}"#;

/// How many are committed together.
const AT_ONCE: usize = 1_000;

/// How often to say that this node lives: more often than it would be missed.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What makes an item be owed.
#[derive(Clone, Copy)]
pub enum By {
    /// A call of the asynchronous route: its request and its answer are kept, and somebody may ask what became of it.
    Call,
    /// A message to the queue.
    Message,
}

/// Makes so many items be owed. Only while the app is paused: otherwise they are run at once.
pub async fn make(instance: &Instance, by: By, count: usize) -> anyhow::Result<()> {
    let node = Node::register(&instance.pool, "bench", "0").await?;
    // Nobody in this process follows the log.
    let (told, mut tail) = mpsc::unbounded_channel();
    let drain = tokio::spawn(async move { while tail.recv().await.is_some() {} });
    let (committer, committing) =
        Committer::start(instance.options.clone(), node.epoch(), CommitterConfig::default(), told, None);
    let made = commit_all(instance, &committer, node, by, count).await;
    committer.close();
    committing.await?;
    drain.await?;
    node.retire(&instance.pool).await?;
    made
}

async fn commit_all(
    instance: &Instance,
    committer: &Committer,
    node: Node,
    by: By,
    count: usize,
) -> anyhow::Result<()> {
    let mut beaten = Instant::now();
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        let commits = (0..now).map(|_| {
            committer.commit(match by {
                By::Call => call(instance, node),
                By::Message => message(instance, node),
            })
        });
        for committed in join_all(commits).await {
            committed.context("failed to make an item be owed")?;
        }
        left -= now;
        if beaten.elapsed() > HEARTBEAT {
            node.heartbeat(&instance.pool).await?;
            beaten = Instant::now();
        }
    }
    Ok(())
}

/// The committer finds out what it owes.
fn message(instance: &Instance, node: Node) -> Commit {
    let message = RawValue::from_string(BODY.to_owned()).expect("it is JSON");
    let sent = Sent { queue: "jobs".to_owned(), message, key: None, priority: 0, due_at: None };
    Commit::new(node.authority(), vec![NewEvent::new(Some(instance.app), &Actor::SYSTEM, sent)])
}

fn call(instance: &Instance, node: Node) -> Commit {
    let item = OutboxId::generate();
    let headers = [("content-type", "application/json"), ("host", "localhost"), ("content-length", "24")];
    let request = Request {
        method: "POST".to_owned(),
        path: "/later".to_owned(),
        host: "localhost".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: BODY.into(),
        ..Request::default()
    };
    let enqueued = Enqueued {
        item,
        source: Source::AsyncRoute { route: instance.route },
        script: instance.script,
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: Plain::Request(Kept::of(&request, None, Record::Full).into()).seal(item, &instance.key),
        is_watched: true,
        replay_of: None,
        handles: None,
        carried: None,
    };
    let actor = Actor { kind: ActorKind::Public, id: None, request_id: None, address: Some("127.0.0.1".to_owned()) };
    // What a caller's token hashes to; nobody asks.
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(item.uuid().as_bytes());
    let status_token = Some(StatusToken { item, hash });
    let event = NewEvent::new(Some(instance.app), &actor, enqueued);
    Commit { status_token, ..Commit::new(node.authority(), vec![event]) }
}
