//! Which commits of a batch are stale as far as memory tells, before they cost a round trip.

use std::collections::HashSet;

use super::{
    Read, Rejected,
    batch::Refusal,
    fair::Pending,
    recent::{self, Recent, covers},
};
use crate::id::AppId;

/// The commits that what was committed lately, or an earlier commit of the same batch, has made stale.
pub(super) fn stale_in_memory(part: &[Pending], recent: &Recent) -> Vec<Refusal> {
    let mut stale = Vec::new();
    let mut written: HashSet<(AppId, &str, &str)> = HashSet::new();
    for (index, pending) in part.iter().enumerate() {
        let overtaken = |read: &Read| match read {
            Read::Kv { app, collection, key, .. } => written.contains(&(*app, collection.as_str(), key.as_str())),
            Read::KvRange { .. } => written.iter().any(|(app, collection, key)| covers(read, *app, collection, key)),
            Read::Config { .. }
            | Read::DeadLetter { .. }
            | Read::Alert { .. }
            | Read::Cron { .. }
            | Read::Owed { .. }
            | Read::Lane { .. }
            | Read::LastSeal { .. } => false,
        };
        if pending.commit.reads.iter().any(|read| recent.is_stale(read) || overtaken(read)) {
            stale.push((index, Rejected::Stale));
            continue;
        }
        for event in &pending.commit.events {
            if let (Some(app), Some((collection, key))) = (event.app, recent::written(&event.event)) {
                written.insert((app, collection, key));
            }
        }
    }
    stale
}
