//! Behind which gates items may wait, and whom to ask next: apps in turn, and the gates of each.

use std::collections::{HashMap, HashSet, VecDeque};

use picloud_core::{
    id::AppId,
    log::{HeldBack, outbox::Turn},
    outbox::Gate,
};
use picloud_projections::setup::{Held, Setup};

/// What is to be claimed from one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub turn: Turn,
    /// This many at most.
    pub each: usize,
    /// As long as no more than this many run then.
    pub limit: Option<u32>,
}

/// Where items may wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Of each app the gates with items, and behind which rank these lie; the one whose turn it is at the front.
    apps: HashMap<AppId, VecDeque<(Gate, i64)>>,
    /// How many apps had their turn.
    turns: usize,
    /// How far limited gates were claimed.
    floors: HashMap<Gate, i64>,
    known: HashSet<AppId>,
    held: HashMap<Gate, Held>,
    /// Nothing at all may run.
    is_all_paused: bool,
}

impl Waiting {
    /// Takes in how apps are set up; whether other items can run because of it.
    pub fn learn(&mut self, setup: &Setup) -> bool {
        let known = setup.apps.keys().copied().collect();
        let held = setup.apps.values().flat_map(|app| app.held()).collect();
        let has_changed = (&self.known, &self.held, self.is_all_paused) != (&known, &held, setup.outbox.is_paused);
        self.is_all_paused = setup.outbox.is_paused;
        self.known = known;
        self.held = held;
        self.floors.retain(|gate, _| matches!(self.held.get(gate), Some(Held::AtMost(_))));
        has_changed
    }

    /// What must not be run without a look here.
    pub fn held(&self) -> HeldBack {
        if self.is_all_paused { HeldBack::All } else { HeldBack::Gates(self.held.keys().copied().collect()) }
    }

    pub fn is_paused(&self, gate: Gate) -> bool {
        self.is_all_paused || self.held.get(&gate) == Some(&Held::Paused)
    }

    /// Whether the end of a run lets others behind the gate begin.
    pub fn is_limited(&self, gate: Gate) -> bool {
        matches!(self.held.get(&gate), Some(Held::AtMost(_)))
    }

    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    pub fn forget(&mut self) {
        self.apps.clear();
    }

    /// A gate may have items from a rank on.
    pub fn may_have(&mut self, app: AppId, gate: Gate, from: i64) {
        if self.is_paused(gate) || !self.known.contains(&app) {
            // They are looked for when that changes.
            return;
        }
        let gates = self.apps.entry(app).or_default();
        match gates.iter_mut().find(|(known, _)| *known == gate) {
            Some((_, after)) => *after = from.min(*after),
            None => gates.push_back((gate, from)),
        }
    }

    /// A limited gate has a place again.
    pub fn has_place(&mut self, app: AppId, gate: Gate) {
        let floor = self.floors.get(&gate).copied().unwrap_or(i64::MIN);
        self.may_have(app, gate, floor);
    }

    /// Whom to ask when there is room for so many.
    pub fn ask(&mut self, room: usize) -> Vec<Asked> {
        if self.is_all_paused {
            self.apps.clear();
        }
        let (known, held) = (&self.known, &self.held);
        self.apps.retain(|app, gates| {
            gates.retain(|(gate, _)| held.get(gate) != Some(&Held::Paused));
            known.contains(app) && !gates.is_empty()
        });
        let share = (room / self.apps.len().max(1)).max(1);
        let mut asked = Vec::new();
        // Whoever was not asked for lack of room is asked next.
        let (first, served) = (self.turns % self.apps.len().max(1), room.min(self.apps.len()));
        self.turns = self.turns.wrapping_add(served);
        for (app, gates) in self.apps.iter().cycle().skip(first).take(served) {
            let each = (share / gates.len()).max(1);
            asked.extend(gates.iter().take(share).map(|(gate, after)| Asked {
                turn: Turn { app: *app, gate: *gate, after: *after },
                each,
                limit: match held.get(gate) {
                    Some(Held::AtMost(most)) => Some(*most),
                    Some(Held::Paused) | None => None,
                },
            }));
        }
        asked
    }

    /// So many came of what was asked, the last of them at a rank. Fewer than were asked for: there are no more.
    pub fn answered(&mut self, asked: Asked, count: usize, last: i64) {
        let Asked { turn: Turn { app, gate, .. }, each, limit } = asked;
        if limit.is_some() && count > 0 {
            self.floors.insert(gate, last);
        }
        let Some(gates) = self.apps.get_mut(&app) else { return };
        gates.retain(|(known, _)| *known != gate);
        if count == each {
            gates.push_back((gate, last));
        }
        if gates.is_empty() {
            self.apps.remove(&app);
        }
    }
}

#[cfg(test)]
mod tests {
    use picloud_core::id::{ScriptId, TriggerId};

    use super::*;

    fn known(apps: &[AppId]) -> Waiting {
        Waiting { known: apps.iter().copied().collect(), ..Waiting::default() }
    }

    fn gate() -> Gate {
        ScriptId::generate().into()
    }

    #[test]
    fn apps_have_equal_shares_however_many_gates_they_have() {
        let [busy, quiet] = [AppId::generate(), AppId::generate()];
        let mut waiting = known(&[busy, quiet]);
        for _ in 0..10 {
            waiting.may_have(busy, gate(), 0);
        }
        waiting.may_have(quiet, gate(), 0);
        let asked = waiting.ask(40);
        let of = |app| asked.iter().filter(|asked| asked.turn.app == app).map(|asked| asked.each).sum::<usize>();
        assert_eq!((of(busy), of(quiet)), (20, 20));
    }

    #[test]
    fn gates_take_turns_when_there_are_more_than_places() {
        let app = AppId::generate();
        let mut waiting = known(&[app]);
        let gates: Vec<Gate> = (0..6).map(|_| gate()).collect();
        for gate in &gates {
            waiting.may_have(app, *gate, 0);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            for asked in waiting.ask(2) {
                seen.push(asked.turn.gate);
                waiting.answered(asked, asked.each, 1);
            }
        }
        assert_eq!(seen, gates);
    }

    #[test]
    fn apps_take_turns_when_there_are_more_than_places() {
        let apps: Vec<AppId> = (0..4).map(|_| AppId::generate()).collect();
        let mut waiting = known(&apps);
        for app in &apps {
            waiting.may_have(*app, gate(), 0);
        }
        let mut seen = HashSet::new();
        for _ in 0..4 {
            for asked in waiting.ask(1) {
                seen.insert(asked.turn.app);
                waiting.answered(asked, asked.each, 1);
            }
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn who_has_no_more_is_not_asked_again() {
        let app = AppId::generate();
        let mut waiting = known(&[app]);
        waiting.may_have(app, gate(), 0);
        let [asked] = waiting.ask(10)[..] else { panic!("one gate") };
        waiting.answered(asked, 9, 5);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_is_paused_or_of_an_unknown_app_costs_nothing() {
        let app = AppId::generate();
        let paused = Gate::from(TriggerId::generate());
        let mut waiting = known(&[app]);
        waiting.held.insert(paused, Held::Paused);
        waiting.may_have(app, paused, 0);
        waiting.may_have(AppId::generate(), gate(), 0);
        assert!(waiting.is_empty());
    }

    #[test]
    fn while_the_outbox_is_paused_nobody_is_asked_and_afterwards_all_are_looked_for() {
        let (app, mut waiting) = (AppId::generate(), Waiting::default());
        let mut setup = Setup::default();
        waiting.known.insert(app);
        waiting.may_have(app, gate(), 0);
        setup.outbox.is_paused = true;
        assert!(waiting.learn(&setup), "the handoff is told");
        waiting.known.insert(app);
        assert!(waiting.ask(10).is_empty() && waiting.is_empty(), "what was known of before waits, too");
        waiting.may_have(app, gate(), 0);
        assert!(waiting.is_empty());
        assert!(matches!(waiting.held(), HeldBack::All) && waiting.is_paused(gate()));
        setup.outbox.is_paused = false;
        assert!(waiting.learn(&setup), "it has to look");
        assert!(matches!(waiting.held(), HeldBack::Gates(gates) if gates.is_empty()));
    }

    #[test]
    fn a_limited_gate_is_asked_behind_what_was_claimed_when_a_place_is_free() {
        let app = AppId::generate();
        let limited = Gate::from(TriggerId::generate());
        let mut waiting = known(&[app]);
        waiting.held.insert(limited, Held::AtMost(2));
        waiting.may_have(app, limited, 0);
        let [asked] = waiting.ask(10)[..] else { panic!("one gate") };
        assert_eq!(asked.limit, Some(2));
        waiting.answered(asked, 2, 7);
        assert!(waiting.is_empty());
        waiting.has_place(app, limited);
        assert_eq!(waiting.ask(10)[0].turn.after, 7);
    }
}
