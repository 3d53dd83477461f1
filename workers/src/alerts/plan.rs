//! From what was seen and what was told to what is to be said. Pure.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use picloud_core::{
    alert::{Condition, Matter, Verdict, decide},
    event::{
        Event,
        alert::{Raised, Recovered},
    },
    id::AlertId,
    log::{Position, Read},
};
use picloud_projections::{
    alerts::{Asked, Told},
    setup::AlertChannel,
};

use super::observe::Observed;

/// What was told last, by whom and about what.
pub(super) struct Book<'t> {
    told: HashMap<(&'t str, Condition, &'t str), &'t Told>,
    channels: &'t [Arc<AlertChannel>],
    now: DateTime<Utc>,
}

/// What is to be said, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Each with what it was decided on.
    pub events: Vec<(Event, Read)>,
    /// Something is held back until then.
    pub next: Option<DateTime<Utc>>,
}

impl<'t> Book<'t> {
    /// Of channels that are enabled.
    pub fn new(told: &'t [Told], channels: &'t [Arc<AlertChannel>], now: DateTime<Utc>) -> Self {
        let told = told.iter().map(|told| ((&*told.channel, told.condition, &*told.subject), told));
        Self { told: told.collect(), channels, now }
    }

    /// Raises what lasts, and ends what is known to be over.
    pub fn lasting(&self, seen: &Observed, plan: &mut Plan) {
        for channel in self.channels {
            for matter in &seen.wrong {
                self.happens(channel, matter, plan);
            }
        }
        for told in self.told.values() {
            let Some(channel) = self.channels.iter().find(|channel| channel.name == told.channel) else { continue };
            if !seen.is_well(told.condition, &told.subject) {
                continue;
            }
            let verdict = decide(told.condition, false, Some(&told.last()), channel.cooldown_s, self.now);
            if verdict == Verdict::Recover {
                let Told { alert, condition, .. } = **told;
                let recovered = Recovered { alert, channel: channel.name.clone(), condition };
                plan.events.push((recovered.into(), self.read(&channel.name, told.condition, &told.subject)));
            }
        }
    }

    /// Raises a matter on a channel, if that is to hear of it now.
    pub fn happens(&self, channel: &AlertChannel, matter: &Matter, plan: &mut Plan) {
        let (condition, subject) = (matter.condition(), matter.subject());
        match self.verdict(channel, condition, &subject) {
            Verdict::Raise => {
                let raised =
                    Raised { alert: AlertId::generate(), channel: channel.name.clone(), matter: matter.clone() };
                plan.events.push((raised.into(), self.read(&channel.name, condition, &subject)));
            }
            Verdict::NotBefore(at) => plan.look_again(at),
            Verdict::Nothing | Verdict::Recover => {}
        }
    }

    /// Which channels may be told of letters of these apps now, and since when they were told of none.
    pub fn may_hear_of_letters(&self, apps: &[picloud_core::id::AppId], plan: &mut Plan) -> Vec<Asked> {
        let mut asked = Vec::new();
        for channel in self.channels {
            for app in apps {
                let subject = app.to_string();
                match self.verdict(channel, Condition::DeadLetter, &subject) {
                    Verdict::Raise => {
                        let since = self.since(channel, Condition::DeadLetter, &subject);
                        asked.push(Asked { channel: channel.name.clone(), app: *app, since });
                    }
                    Verdict::NotBefore(at) => plan.look_again(at),
                    Verdict::Nothing | Verdict::Recover => {}
                }
            }
        }
        asked
    }

    /// Up to when a channel was told what happened: what was before there was such a channel is nothing new.
    pub fn since(&self, channel: &AlertChannel, condition: Condition, subject: &str) -> DateTime<Utc> {
        let told = self.told.get(&(&*channel.name, condition, subject));
        told.map_or(channel.created_at, |told| told.told_up_to.max(channel.created_at))
    }

    fn verdict(&self, channel: &AlertChannel, condition: Condition, subject: &str) -> Verdict {
        if !channel.hears_of(condition) {
            return Verdict::Nothing;
        }
        let last = self.told.get(&(&*channel.name, condition, subject)).map(|told| told.last());
        decide(condition, true, last.as_ref(), channel.cooldown_s, self.now)
    }

    fn read(&self, channel: &str, condition: Condition, subject: &str) -> Read {
        let version = self.told.get(&(channel, condition, subject)).map_or(Position::ZERO, |told| told.position);
        Read::Alert { channel: channel.to_owned(), condition, subject: subject.to_owned(), version }
    }
}

impl Plan {
    /// At this time, or before.
    pub fn look_again(&mut self, at: DateTime<Utc>) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use picloud_core::{
        alert::{ChannelKind, Notice},
        id::{AppId, SecretId},
    };
    use picloud_projections::alerts::Owed;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn channel(name: &str) -> Arc<AlertChannel> {
        Arc::new(AlertChannel {
            name: name.to_owned(),
            kind: ChannelKind::Webhook,
            host: "hooks.example.com".to_owned(),
            secret: SecretId::generate(),
            conditions: None,
            cooldown_s: 3_600,
            is_enabled: true,
            created_at: at(-100),
            position: Position(1),
        })
    }

    fn parked(view: &str) -> Matter {
        Matter::ViewParked { view: view.to_owned() }
    }

    fn told(channel: &str, matter: Matter) -> Told {
        Told {
            channel: channel.to_owned(),
            condition: matter.condition(),
            subject: matter.subject(),
            alert: AlertId::generate(),
            matter,
            raised_at: at(0),
            told_up_to: at(0),
            recovered_at: None,
            owed: None,
            last_error: None,
            position: Position(7),
        }
    }

    /// What is to be said when these views are parked and these are well.
    fn lasting(told: &[Told], channels: &[Arc<AlertChannel>], wrong: &[&str], well: &[&str]) -> Vec<(String, Read)> {
        let seen = Observed {
            wrong: wrong.iter().map(|view| parked(view)).collect(),
            well: well.iter().map(|view| (Condition::ViewParked, (*view).to_owned())).collect(),
        };
        let mut plan = Plan::default();
        Book::new(told, channels, at(10)).lasting(&seen, &mut plan);
        plan.events.into_iter().map(|(event, read)| (event.kind().to_owned(), read)).collect()
    }

    fn seen(channel: &str, view: &str, version: i64) -> Read {
        let condition = Condition::ViewParked;
        Read::Alert { channel: channel.to_owned(), condition, subject: view.to_owned(), version: Position(version) }
    }

    #[test]
    fn a_view_that_stands_still_is_told_to_each_channel_that_has_not_heard() {
        let channels = [channel("ops"), channel("phone")];
        let before = [told("ops", parked("logs"))];
        let said = lasting(&before, &channels, &["logs"], &["metrics"]);
        assert_eq!(said, [("alert.raised".to_owned(), seen("phone", "logs", 0))]);
    }

    #[test]
    fn that_a_view_goes_on_is_told_by_who_knows() {
        let channels = [channel("ops")];
        let before = [told("ops", parked("logs")), told("ops", parked("metrics"))];
        let said = lasting(&before, &channels, &["metrics"], &["logs", "errors"]);
        assert_eq!(said, [("alert.recovered".to_owned(), seen("ops", "logs", 7))]);
        assert_eq!(lasting(&before, &channels, &[], &["errors"]), [], "others do not know how these stand");
        // A channel that is not told anything is not told of the end.
        assert_eq!(lasting(&before, &[], &[], &["logs"]), []);
    }

    #[test]
    fn who_was_told_a_short_while_ago_may_hear_of_letters_later() {
        let channels = [channel("ops")];
        let (told_of, new) = (AppId::generate(), AppId::generate());
        let letters = Matter::DeadLetter { app: told_of, letters: 1, up_to: at(0) };
        let mut before = [told("ops", letters)];
        let ask = |before: &[Told], now| {
            let mut plan = Plan::default();
            let asked = Book::new(before, &channels, now).may_hear_of_letters(&[told_of, new], &mut plan);
            (asked.into_iter().map(|asked| (asked.app, asked.since)).collect::<Vec<_>>(), plan.next)
        };
        assert_eq!(ask(&before, at(10)), (vec![(new, at(-100))], Some(at(3_600))));
        assert_eq!(ask(&before, at(3_600)), (vec![(told_of, at(0)), (new, at(-100))], None));
        before[0].owed = Some(Owed { notice: Notice::Raised, attempts: 3, due_at: at(20) });
        assert_eq!(ask(&before, at(3_600)), (vec![(new, at(-100))], None), "its end is waited for");
    }
}
