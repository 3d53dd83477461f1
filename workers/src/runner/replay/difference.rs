//! In what two runs differ.

use std::collections::BTreeMap;

use picloud_core::replay::{Course, Difference, Effect, Part};
use serde_json::{Map, Value, json};
use similar::{Algorithm, DiffOp, capture_diff_slices};

/// All of them: in the order of their parts, and within these of the first run.
pub(super) fn differences(recorded: &Course, replayed: &Course) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    let end = |course: &Course| match (&course.answer, &course.failure) {
        (Some(answer), _) => readable(answer),
        (None, Some(failure)) => json!({ "failed": failure }),
        (None, None) => json!({}),
    };
    found.values(Part::Answer, "", Some(&end(recorded)), Some(&end(replayed)));
    found.effects(&recorded.effects, &replayed.effects);
    let line = |line: &_| serde_json::to_value(line).unwrap_or_default();
    let lines = |course: &Course| course.logs.iter().map(line).collect::<Vec<_>>();
    found.lists(Part::Logs, "line", &lines(recorded), &lines(replayed));
    let calls = |course: &Course| course.calls.iter().map(|call| json!(call)).collect::<Vec<_>>();
    found.lists(Part::Calls, "call", &calls(recorded), &calls(replayed));
    found.0
}

/// An answer whose parts can be compared: a body that is JSON as what it says, headers by their names.
fn readable(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(json) = answer["body"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        answer["body"] = json;
    }
    if let Some(pairs) = answer["headers"].as_array() {
        let mut headers = BTreeMap::<String, Vec<Value>>::new();
        for pair in pairs {
            headers.entry(pair[0].as_str().unwrap_or_default().to_owned()).or_default().push(pair[1].clone());
        }
        let one = |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
        let headers: Map<String, Value> = headers.into_iter().map(|(name, values)| (name, one(values))).collect();
        answer["headers"] = Value::Object(headers);
    }
    answer
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, part: Part, at: &str, recorded: Option<&Value>, replayed: Option<&Value>) {
        self.0.push(Difference { part, at: at.to_owned(), recorded: recorded.cloned(), replayed: replayed.cloned() });
    }

    /// As far within two values as both have something there.
    fn values(&mut self, part: Part, at: &str, recorded: Option<&Value>, replayed: Option<&Value>) {
        match (recorded, replayed) {
            (Some(Value::Object(one)), Some(Value::Object(other))) => {
                for (name, value) in one {
                    self.values(part, &field(at, name), Some(value), other.get(name));
                }
                for (name, value) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
                    self.values(part, &field(at, name), None, Some(value));
                }
            }
            (Some(Value::Array(one)), Some(Value::Array(other))) if one.len() == other.len() => {
                for (n, (one, other)) in one.iter().zip(other).enumerate() {
                    self.values(part, &format!("{at}[{n}]"), Some(one), Some(other));
                }
            }
            (one, other) if one == other => {}
            (one, other) => self.add(part, at, one, other),
        }
    }

    /// What was done to the same things, whenever that was in the course of the runs.
    fn effects(&mut self, recorded: &[Effect], replayed: &[Effect]) {
        let (recorded, mut replayed) = (counted(recorded), counted(replayed));
        for (name, one) in recorded {
            let other = replayed.remove(&name);
            let at = name_of(one);
            match other {
                Some(other) if other.kind == one.kind => {
                    let at = format!("{at}: ");
                    self.values(Part::Effects, &at, Some(&one.data), Some(&other.data));
                }
                other => {
                    self.add(Part::Effects, &at, Some(&one.data), None);
                    if let Some(other) = other {
                        self.gained(other);
                    }
                }
            }
        }
        for effect in replayed.into_values() {
            self.gained(effect);
        }
    }

    fn gained(&mut self, effect: &Effect) {
        self.add(Part::Effects, &name_of(effect), None, Some(&effect.data));
    }

    /// What has to go from one list and be put in for it to be the other.
    fn lists(&mut self, part: Part, what: &str, recorded: &[Value], replayed: &[Value]) {
        let text = |values: &[Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        for op in capture_diff_slices(Algorithm::Myers, &text(recorded), &text(replayed)) {
            if matches!(op, DiffOp::Equal { .. }) {
                continue;
            }
            for n in op.old_range() {
                self.add(part, &format!("{what} {}", n + 1), Some(&recorded[n]), None);
            }
            for n in op.new_range() {
                self.add(part, &format!("{what} {}", n + 1), None, Some(&replayed[n]));
            }
        }
    }
}

fn field(at: &str, name: &str) -> String {
    if at.is_empty() || at.ends_with(": ") { format!("{at}{name}") } else { format!("{at}.{name}") }
}

/// `kv.set orders/42`: a subject that names its noun again does so for others.
fn name_of(effect: &Effect) -> String {
    let Effect { kind, subject, .. } = effect;
    let is_said = subject.split_once(':').filter(|(noun, _)| kind.split('.').next() == Some(noun));
    format!("{kind} {}", is_said.map_or(subject.as_str(), |(_, rest)| rest))
}

/// By what they are about, and which they are of those that are about the same.
fn counted(effects: &[Effect]) -> BTreeMap<(&str, &str, usize), &Effect> {
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    let mut counted = BTreeMap::new();
    for effect in effects {
        let noun = effect.kind.split('.').next().unwrap_or_default();
        let count = counts.entry((noun, &effect.subject)).or_default();
        *count += 1;
        counted.insert((noun, effect.subject.as_str(), *count), effect);
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(answer: Value, effects: &[(&str, &str, Value)]) -> Course {
        let effect = |(kind, subject, data): &(&str, &str, Value)| Effect {
            kind: (*kind).to_owned(),
            subject: (*subject).to_owned(),
            data: data.clone(),
        };
        Course { answer: Some(answer), effects: effects.iter().map(effect).collect(), ..Course::default() }
    }

    /// In the order of where they are: in which an object has its fields is not said.
    fn told(one: &Course, other: &Course) -> Vec<(String, Option<Value>, Option<Value>)> {
        let found = differences(one, other).into_iter().map(|found| (found.at, found.recorded, found.replayed));
        let mut found: Vec<_> = found.collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    #[test]
    fn what_is_the_same_differs_in_nothing() {
        let one = course(json!({ "status": 200, "body": "{\"a\": 1}" }), &[("kv.set", "c/k", json!({ "value": 1 }))]);
        assert_eq!(told(&one, &one.clone()), []);
        // Neither does how JSON is written, nor in which order other things were done.
        let two = &[("kv.set", "c/k", json!(1)), ("kv.set", "c/l", json!(2))];
        let (mut turned, spaced) = (two.clone(), json!({ "status": 200, "body": "{ \"a\":1 }" }));
        turned.reverse();
        assert_eq!(told(&course(one.answer.expect("given"), two), &course(spaced, &turned)), []);
    }

    #[test]
    fn a_difference_says_where_it_is() {
        let one = course(
            json!({ "status": 200, "headers": [["a", "1"]], "body": "{\"items\": [{\"price\": 3}], \"old\": true}" }),
            &[("kv.set", "c/k", json!({ "value": { "n": 1 } })), ("message.published", "t", json!({ "message": 1 }))],
        );
        let other = course(
            json!({ "status": 201, "headers": [["a", "2"]], "body": "{\"items\": [{\"price\": 4}]}" }),
            &[("kv.set", "c/k", json!({ "value": { "n": 2 } })), ("kv.deleted", "c/l", json!({ "key": "l" }))],
        );
        assert_eq!(
            told(&one, &other),
            [
                ("body.items[0].price".to_owned(), Some(json!(3)), Some(json!(4))),
                ("body.old".to_owned(), Some(json!(true)), None),
                ("headers.a".to_owned(), Some(json!("1")), Some(json!("2"))),
                ("kv.deleted c/l".to_owned(), None, Some(json!({ "key": "l" }))),
                ("kv.set c/k: value.n".to_owned(), Some(json!(1)), Some(json!(2))),
                ("message.published t".to_owned(), Some(json!({ "message": 1 })), None),
                ("status".to_owned(), Some(json!(200)), Some(json!(201))),
            ]
        );
    }

    #[test]
    fn what_is_done_to_the_same_thing_in_another_way_is_two_differences() {
        let one = course(json!({}), &[("kv.set", "c/k", json!({ "value": 1 }))]);
        let other = course(json!({}), &[("kv.deleted", "c/k", json!({ "key": "k" }))]);
        let found = told(&one, &other);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("kv.deleted c/k", "kv.set c/k"));
    }

    #[test]
    fn logs_are_compared_line_by_line_wherever_one_was_put_in() {
        use picloud_core::{replay::Line, run::LogLevel};
        let logs = |lines: &[&str]| Course {
            logs: lines
                .iter()
                .map(|line| Line { level: LogLevel::Info, message: (*line).to_owned(), data: None })
                .collect(),
            ..Course::default()
        };
        let found = differences(&logs(&["a", "b", "c"]), &logs(&["a", "x", "b", "c"]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].at.as_str(), &found[0].recorded), ("line 2", &None));
    }
}
