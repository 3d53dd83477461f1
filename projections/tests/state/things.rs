//! What there is that something can happen to, by its names.

use std::collections::HashMap;

use picloud_core::id::{
    AccountId, AlertId, ApiKeyId, AppId, DataKeyId, DeadLetterId, DomainId, EventId, HistoryId, InvocationId, JobId,
    NodeEpoch, OutboxId, RequestId, RouteId, ScriptId, SecretId, SessionId, TriggerId, VersionId,
};

use crate::history::Dice;

pub fn generated(prefix: &str) -> String {
    match prefix {
        "app" => AppId::generate().to_string(),
        "scr" => ScriptId::generate().to_string(),
        "ver" => VersionId::generate().to_string(),
        "rte" => RouteId::generate().to_string(),
        "dom" => DomainId::generate().to_string(),
        "trg" => TriggerId::generate().to_string(),
        "inv" => InvocationId::generate().to_string(),
        "out" => OutboxId::generate().to_string(),
        "dl" => DeadLetterId::generate().to_string(),
        "job" => JobId::generate().to_string(),
        "evt" => EventId::generate().to_string(),
        "acc" => AccountId::generate().to_string(),
        "ses" => SessionId::generate().to_string(),
        "sec" => SecretId::generate().to_string(),
        "key" => ApiKeyId::generate().to_string(),
        "nod" => NodeEpoch::generate().to_string(),
        "req" => RequestId::generate().to_string(),
        "dek" => DataKeyId::generate().to_string(),
        "alr" => AlertId::generate().to_string(),
        "his" => HistoryId::generate().to_string(),
        other => panic!("there are ids that begin with `{other}_`: say here how one is made"),
    }
}

/// The prefix of an id, if it is one.
pub fn prefix(text: &str) -> Option<&str> {
    let (prefix, ulid) = text.split_once('_')?;
    (ulid.len() == 26 && prefix.len() <= 3 && ulid.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()))
        .then_some(prefix)
}

/// What there is in an app, or in the instance, by the prefixes of its ids.
#[derive(Default)]
pub struct Things(HashMap<String, Vec<String>>);

impl Things {
    pub fn pick(&mut self, prefix: &str, dice: &mut Dice) -> String {
        let known = self.0.entry(prefix.to_owned()).or_default();
        // Of some kinds of things there are few, so that much happens to each.
        let few = match prefix {
            "acc" => 2,
            "dl" | "out" | "inv" | "job" => 5,
            _ => 3,
        };
        match known.len() {
            0 => {
                known.push(generated(prefix));
                known[0].clone()
            }
            len => known[len - 1 - dice.below(len.min(few))].clone(),
        }
    }

    pub fn add(&mut self, prefix: &str) -> String {
        let known = self.0.entry(prefix.to_owned()).or_default();
        known.push(generated(prefix));
        known[known.len() - 1].clone()
    }

    pub fn newest(&self, prefix: &str) -> Option<String> {
        self.0.get(prefix)?.last().cloned()
    }

    pub fn forget(&mut self, id: &str) {
        self.0.values_mut().for_each(|known| known.retain(|one| one != id));
    }
}
