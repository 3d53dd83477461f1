//! Calls outside: made once, for reasons that hold, and answered again when a run is repeated.

use picloud_core::{limits::Limits, run::Record};
use picloud_workers::{
    effects::{Calls, Effects, SourceError},
    http::Request,
    sandbox::{Data as _, DataError},
};
use serde_json::{Value, json};

use crate::store::Store;

fn request(path: &str) -> Request {
    Request {
        method: "GET".parse().expect("a method"),
        url: format!("https://a.example{path}?key=secret").parse().expect("a URL"),
        headers: Default::default(),
        body: Default::default(),
        timeout: None,
        follow: true,
    }
}

/// What the call was answered.
fn call(run: &mut Effects<Store>, path: &str) -> Result<String, DataError> {
    let answer = run.http(request(path))?;
    Ok(String::from_utf8(answer.body.to_vec()).expect("text"))
}

fn numbers(store: &Store) -> Vec<usize> {
    store.lock().calls.iter().map(|(number, _)| *number).collect()
}

/// What was stored when the call was made must still be so when it is made.
#[test]
fn nothing_is_called_for_a_reason_that_does_not_hold_any_more() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    run.kv_get("c", "a").expect("readable");
    store.set("a", "2");
    assert_eq!(call(&mut run, "/"), Err(DataError::Conflict));
    assert!(numbers(&store).is_empty());
}

#[test]
fn what_was_read_is_looked_at_before_a_call_when_there_is_news_and_not_otherwise() {
    let store = Store::with(&[("a", "1"), ("b", "1")]);
    let mut run = store.run();
    call(&mut run, "/").expect("an answer");
    assert_eq!(store.lock().checks, 0, "nothing was read");
    run.kv_get("c", "a").expect("readable");
    call(&mut run, "/").expect("an answer");
    call(&mut run, "/").expect("an answer");
    assert_eq!(store.lock().checks, 1);
    run.kv_get("c", "b").expect("readable");
    store.set("a", "2");
    assert_eq!(call(&mut run, "/"), Err(DataError::Conflict), "the second call had its reason, the fourth has not");
    assert_eq!(numbers(&store), [1, 2, 3]);
}

#[test]
fn a_repeated_run_gets_the_answers_of_the_calls_that_were_made() {
    let (store, calls) = (Store::default(), Calls::default());
    let mut first = store.run().after(calls.clone());
    let answers = [call(&mut first, "/a").unwrap(), call(&mut first, "/b").unwrap()];
    assert_eq!(answers, ["/a 1", "/b 2"]);

    let mut again = store.run().after(calls.clone());
    assert_eq!([call(&mut again, "/a").unwrap(), call(&mut again, "/b").unwrap()], answers);
    assert_eq!(numbers(&store), [1, 2]);
    assert_eq!(again.calls_left_out(), None);
    // What comes after is called.
    assert_eq!(call(&mut again, "/c").unwrap(), "/c 3");
    assert_eq!((numbers(&store), calls.len()), (vec![1, 2, 3], 3));
}

#[test]
fn failures_are_answers_too() {
    let (store, calls) = (Store::default(), Calls::default());
    store.lock().ends = Some(Ok(Some(Err("it is on fire".into()))));
    for _ in 0..2 {
        let mut run = store.run().after(calls.clone());
        assert_eq!(call(&mut run, "/"), Err(DataError::Refused("it is on fire".into())));
    }
    assert_eq!(numbers(&store), [1]);
}

#[test]
fn a_repeated_run_that_would_call_differently_does_not_call() {
    let (store, calls) = (Store::default(), Calls::default());
    call(&mut store.run().after(calls.clone()), "/a").expect("an answer");
    let mut again = store.run().after(calls);
    let Err(DataError::Diverged(why)) = call(&mut again, "/b") else { panic!("another call") };
    assert!(why.contains("its call 1 was GET https://a.example/a and is GET https://a.example/b now"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    assert_eq!(numbers(&store), [1]);
}

#[test]
fn a_repeated_run_that_calls_less_says_so() {
    let (store, calls) = (Store::default(), Calls::default());
    let mut run = store.run().after(calls.clone());
    call(&mut run, "/a").expect("an answer");
    call(&mut run, "/b").expect("an answer");
    let mut again = store.run().after(calls);
    call(&mut again, "/a").expect("an answer");
    let why = again.calls_left_out().expect("one less");
    assert!(why.contains("it had made 2 calls outside, and would make 1 now"), "{why}");
}

#[test]
fn a_call_that_cannot_be_made_is_not_remembered_and_one_that_was_given_up_is() {
    let (store, calls) = (Store::default(), Calls::default());
    store.lock().ends = Some(Err(SourceError::Unavailable));
    assert_eq!(call(&mut store.run().after(calls.clone()), "/"), Err(DataError::Unavailable));
    assert!(calls.is_empty());
    store.lock().ends = Some(Ok(None));
    assert_eq!(call(&mut store.run().after(calls.clone()), "/"), Err(DataError::Deadline));
    assert_eq!(calls.len(), 1);
}

#[test]
fn calls_are_counted() {
    let store = Store::default();
    let mut run = store.run_within(&Limits { max_http_calls: 2, ..Limits::DEFAULT });
    call(&mut run, "/").expect("an answer");
    call(&mut run, "/").expect("an answer");
    let Err(DataError::Limit { name, message }) = call(&mut run, "/") else { panic!("one too many") };
    assert_eq!((name, numbers(&store)), ("max_http_calls", vec![1, 2]));
    assert!(message.contains("`max_http_calls` allows 2"), "{message}");
}

#[test]
fn an_answer_is_as_long_as_a_blob_may_be_and_all_together_as_the_memory() {
    let store = Store::default();
    let mut run = store.run_within(&Limits { max_string_bytes: 100, max_memory_bytes: 150, ..Limits::DEFAULT });
    call(&mut run, "/").expect("an answer");
    call(&mut run, "/").expect("an answer");
    let rooms: Vec<usize> = store.lock().calls.iter().map(|(_, room)| *room).collect();
    assert_eq!(rooms[0], 100);
    assert!(rooms[1] < 100, "{rooms:?}");
    let Err(DataError::Limit { name, .. }) = call(&mut run, "/").and_then(|_| call(&mut run, "/")) else {
        panic!("no room is left")
    };
    assert_eq!(name, "max_memory_bytes");
}

#[test]
fn the_recording_tells_of_calls_in_their_place_and_of_no_credentials() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    call(&mut run, "/p").expect("an answer");
    run.kv_get("c", "a").expect("readable");
    store.lock().ends = Some(Ok(Some(Err("it is on fire".into()))));
    call(&mut run, "/q").expect_err("a failure");
    let journal = |record| serde_json::to_value(run.journal(record)).expect("plain data");
    let digest = |path| hex::encode(request(path).digest());
    let full = json!([
        {"http": {
            "call": 1, "method": "GET", "url": "https://a.example/p?key=secret", "request_sha256": digest("/p"),
            "status": 200, "headers": [["x-own", "c"]], "body": "/p 1",
        }},
        {"kv": {"collection": "c", "key": "a", "value": 1}},
        {"http": {
            "call": 2, "method": "GET", "url": "https://a.example/q?key=secret", "request_sha256": digest("/q"),
            "error": "it is on fire",
        }},
    ]);
    assert_eq!(journal(Record::Full), full);
    let Value::Array(brief) = journal(Record::Headers) else { panic!("a list") };
    assert_eq!((&brief[0]["http"]["body"], &brief[0]["http"]["body_omitted_bytes"]), (&Value::Null, &json!(4)));
    assert!(run.journal_bytes(Record::Headers) < run.journal_bytes(Record::Full));
}

#[test]
fn calls_of_an_earlier_try_are_told_of_when_this_one_did_not_come_to_them() {
    let (store, calls) = (Store::default(), Calls::default());
    call(&mut store.run().after(calls.clone()), "/a").expect("an answer");
    let again = store.run().after(calls);
    assert_eq!(again.journal(Record::Full).len(), 1);
}
