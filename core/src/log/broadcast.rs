//! Messages for whoever listens at the moment: told when the run commits, on all nodes, and stored nowhere.
//!
//! On the node of the run they never leave the process. Where other nodes live they ride in notifications, in pieces, after the
//! commit: what is lost with a node that dies in that moment is what nobody would have been promised.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tracing::warn;

use crate::id::{AppId, NodeEpoch};

/// The channel that these ride on. Nobody is woken by them who waits for the log.
pub(super) const CHANNEL: &str = "picloud_broadcast";

/// A notification may have fewer than 8000 bytes; what stands before each piece takes some.
const PIECE_BYTES: usize = 7_800;

/// How many messages may lie about in pieces. What is still not whole when others push it out never will be.
const PENDING: usize = 256;

/// How many are sent on with one statement.
const TOGETHER: usize = 64;

/// A message that is not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broadcast {
    /// Whose.
    pub app: AppId,
    /// The topic.
    pub topic: String,
    /// What it says.
    pub message: Box<RawValue>,
    /// When the commit was made that it came with; when it was wanted, before.
    pub at: DateTime<Utc>,
}

/// Sends on to the other nodes what this one's runs broadcast. Ends when nobody has anything to send any more.
pub(super) async fn send_on(pool: PgPool, epoch: NodeEpoch, mut wanted: mpsc::Receiver<Arc<Broadcast>>) {
    let mut number: u64 = 0;
    let mut some = Vec::new();
    while wanted.recv_many(&mut some, TOGETHER).await > 0 {
        let has_others = sqlx::query_scalar!(
            r#"select exists (select from live.nodes where epoch <> $1 and revoked_at is null) as "has_others!""#,
            epoch.uuid()
        );
        match has_others.fetch_one(&pool).await {
            Ok(true) => {}
            Ok(false) => {
                some.clear();
                continue;
            }
            Err(error) => {
                warn!(%error, "Failed to look for other nodes: they are not told of a broadcast");
                some.clear();
                continue;
            }
        }
        let mut pieces = Vec::new();
        for broadcast in some.drain(..) {
            number += 1;
            let text = serde_json::to_string(&*broadcast).expect("messages are plain data");
            pieces.extend(cut(epoch, number, &text));
        }
        let sent = sqlx::query!("select pg_notify($1, piece) from unnest($2::text[]) as piece", CHANNEL, &pieces)
            .execute(&pool)
            .await;
        if let Err(error) = sent {
            warn!(%error, "Failed to tell other nodes of a broadcast");
        }
    }
}

/// A text in pieces, each with whose it is, which message, which piece of how many. No two are alike: of notifications that
/// are, only one would be delivered.
fn cut(epoch: NodeEpoch, number: u64, text: &str) -> Vec<String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        pieces.push(piece);
        rest = after;
    }
    let of = pieces.len();
    pieces.iter().enumerate().map(|(n, piece)| format!("{} {number} {n} {of} {piece}", epoch.uuid())).collect()
}

/// Puts the pieces together.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pending: HashMap<(String, u64), Vec<Option<String>>>,
    /// Which came first.
    order: VecDeque<(String, u64)>,
}

impl Pieces {
    /// Takes a notification; the message, when that was its last piece. What makes no sense is passed over: anybody with
    /// a connection can notify.
    pub(super) fn take(&mut self, own: &str, payload: &str) -> Option<Broadcast> {
        let [epoch, number, n, of, piece] = payload.splitn(5, ' ').collect::<Vec<_>>()[..] else { return None };
        let (n, of): (usize, usize) = (n.parse().ok()?, of.parse().ok()?);
        if epoch == own || n >= of || of > 1_000 {
            return None;
        }
        if of == 1 {
            return serde_json::from_str(piece).ok();
        }
        let key = (epoch.to_owned(), number.parse().ok()?);
        let pieces = self.pending.entry(key.clone()).or_insert_with(|| {
            self.order.push_back(key.clone());
            vec![None; of]
        });
        *pieces.get_mut(n)? = Some(piece.to_owned());
        let whole: Option<String> = pieces.iter().map(Option::as_deref).collect();
        if whole.is_some() {
            self.pending.remove(&key);
            self.order.retain(|pending| *pending != key);
        } else if self.order.len() > PENDING
            && let Some(oldest) = self.order.pop_front()
        {
            self.pending.remove(&oldest);
        }
        serde_json::from_str(&whole?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast(text: &str) -> Broadcast {
        let message = RawValue::from_string(serde_json::to_string(text).expect("JSON")).expect("JSON");
        Broadcast { app: AppId::generate(), topic: "room.7".to_owned(), message, at: Utc::now() }
    }

    fn pieces(epoch: NodeEpoch, number: u64, broadcast: &Broadcast) -> Vec<String> {
        cut(epoch, number, &serde_json::to_string(broadcast).expect("JSON"))
    }

    #[test]
    fn a_message_is_whole_again_in_whatever_order_its_pieces_come() {
        let (epoch, other) = (NodeEpoch::generate(), NodeEpoch::generate());
        let long = broadcast(&"ü".repeat(20_000));
        let mut all = pieces(epoch, 1, &long);
        assert!(all.len() > 4 && all.iter().all(|piece| piece.len() < 8_000));
        all.extend(pieces(other, 1, &broadcast("short")));
        all.reverse();
        let mut whole = Pieces::default();
        let told: Vec<_> = all.iter().filter_map(|piece| whole.take("own", piece)).collect();
        let [short, again] = &told[..] else { panic!("{} messages", told.len()) };
        assert_eq!(short.message.get(), "\"short\"");
        assert_eq!((again.message.get(), again.app), (long.message.get(), long.app));
        assert!(whole.pending.is_empty() && whole.order.is_empty());
    }

    #[test]
    fn own_messages_and_nonsense_are_passed_over_and_what_is_never_whole_is_given_up() {
        let mut whole = Pieces::default();
        let epoch = NodeEpoch::generate();
        let own = epoch.uuid().to_string();
        assert!(pieces(epoch, 1, &broadcast("mine")).iter().all(|piece| whole.take(&own, piece).is_none()));
        for nonsense in ["", "a", "a b c d e", "a 1 0 1 {}", "a 1 2 1 {}", "a 1 0 99999999999 {}", "a 1 0 9999999 {}"] {
            assert!(whole.take(&own, nonsense).is_none(), "{nonsense}");
        }
        for number in 0..2_000 {
            assert!(whole.take(&own, &format!("other {number} 0 2 half")).is_none());
        }
        assert!(whole.pending.len() <= PENDING && whole.order.len() <= PENDING);
    }
}
