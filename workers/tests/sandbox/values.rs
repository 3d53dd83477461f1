//! JSON and back: what goes in comes out.

use picloud_core::limits::Limits;
use picloud_workers::sandbox::{ReadError, Room, WriteError, read_json, write_json};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::script;

const ROOM: Room = Room { bytes: 1 << 20, limit: "max_response_bytes" };

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_survives_being_a_value(value in value()) {
        let text = value.to_string();
        let read = read_json(text.as_bytes(), &Limits::DEFAULT).expect("JSON");
        let written = write_json(&read, &Limits::DEFAULT, ROOM).expect("it has a form");
        prop_assert_eq!(std::str::from_utf8(&written).expect("UTF-8"), text);
    }

    #[test]
    fn no_text_breaks_the_reader(text in any::<Vec<u8>>()) {
        match read_json(&text, &Limits::DEFAULT) {
            Ok(_) => prop_assert!(serde_json::from_slice::<Value>(&text).is_ok()),
            Err(_) => prop_assert!(serde_json::from_slice::<Value>(&text).is_err()),
        }
    }
}

#[test]
fn ints_stay_ints_and_floats_stay_floats() {
    let echo = |body: &str| {
        let answer = script("ctx.request.body").body("application/json", body).answer();
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    };
    for same in ["[9223372036854775807,-9223372036854775808,0]", "[1.0,0.1,1e300,-0.0]"] {
        assert_eq!(
            serde_json::from_str::<Value>(&echo(same)).expect("JSON"),
            serde_json::from_str::<Value>(same).expect("JSON")
        );
    }
    assert_eq!(echo("[1.0]"), "[1.0]");
    assert_eq!(echo("18446744073709551615"), "1.8446744073709552e+19");
}

#[test]
fn depth_is_counted_in_both_directions() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read_json(nested(64).as_bytes(), &Limits::DEFAULT).is_ok());
    let refused = read_json(nested(65).as_bytes(), &Limits::DEFAULT);
    assert!(matches!(refused, Err(ReadError::Limit { name: "max_value_depth", .. })), "{refused:?}");
    let deep = read_json(nested(64).as_bytes(), &Limits::DEFAULT).expect("JSON");
    let shallow = Limits { max_value_depth: 63, ..Limits::DEFAULT };
    let refused = write_json(&deep, &shallow, ROOM);
    assert!(matches!(refused, Err(WriteError::Limit { name: "max_value_depth", .. })), "{refused:?}");
}

#[test]
fn a_million_brackets_are_refused_at_once() {
    let text = "[".repeat(1_000_000);
    assert!(matches!(
        read_json(text.as_bytes(), &Limits::CEILING),
        Err(ReadError::Limit { name: "max_value_depth", .. })
    ));
}

#[test]
fn a_later_key_wins() {
    assert_eq!(script("ctx.request.body").body("application/json", r#"{"a": 1, "a": 2}"#).json(), json!({"a": 2}));
}
