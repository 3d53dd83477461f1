//! What is to change of topics.

use picloud_core::{
    event::topic::{Deleted, Registered},
    topic::{Access, Auth},
    trigger::Pattern,
};

use super::{Action, Change, ChangeKind, Planner};

impl Planner<'_> {
    pub(super) fn topics(&mut self) {
        let Some(wanted) = &self.wanted.topics else { return };
        let present = self.present.app.map(|app| &app.topics);
        for (topic, access) in wanted {
            let before = present.and_then(|present| present.get(topic)).map(|said| said.access);
            let action = match before {
                None => Action::Create,
                Some(before) if before == *access => Action::Unchanged,
                Some(_) => Action::Update,
            };
            if action != Action::Unchanged {
                self.then.push(Registered::new(Pattern::new(topic.as_str()), *access).into());
            }
            self.topic(action, topic, *access);
        }
        let gone = present.into_iter().flatten().filter(|(topic, _)| self.wanted.prune && !wanted.contains_key(*topic));
        for (topic, said) in gone {
            self.then.push(Deleted { topic: Pattern::new(topic.as_str()) }.into());
            self.topic(Action::Delete, topic, said.access);
        }
    }

    fn topic(&mut self, action: Action, topic: &str, access: Access) {
        let mut change = Change::new(action, ChangeKind::Topic, topic.to_owned());
        let who = match access {
            Access::Internal => "nobody outside may listen",
            Access::External(Auth::Public) => "everybody may listen",
            Access::External(Auth::Token) => "who has a token may listen",
        };
        change.detail = Some(who.to_owned());
        self.changes.push(change);
    }
}
