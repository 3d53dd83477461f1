//! The complete list of what scripts can call, and that none of it runs long at the limits.

use std::time::{Duration, Instant};

use picloud_core::limits::Limits;

use crate::support::{SANDBOX, script};

#[test]
fn nothing_is_callable_that_is_not_on_the_list() {
    // A new function, ours or the interpreter's after an update, is looked at (how long can one call run, how much can
    // it allocate?) and then added here: `cargo insta review`.
    let signatures = SANDBOX.signatures();
    let reachable: Vec<_> = signatures.iter().filter(|signature| !takes_a_number_no_script_has(signature)).collect();
    insta::assert_snapshot!(reachable.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
}

/// The interpreter has operators for all of Rust's numbers; scripts have `i64` and `f64` only.
fn takes_a_number_no_script_has(signature: &str) -> bool {
    ["i8", "i16", "i32", "i128", "u8", "u16", "u32", "u64", "u128", "f32"]
        .iter()
        .any(|number| signature.contains(&format!(": {number}")) || signature.contains(&format!("<{number}>")))
}

/// Ours is not optimised in a test build; the interpreter is.
const AT_MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });

/// Values as large as the limits allow, over which every function is called.
const LARGE: &[(&str, &str)] = &[
    ("text", "let text = \"\"; text.pad(1_000_000, 'x');"),
    ("words", "let words = \"\"; words.pad(9_000, \"x \");"),
    ("ints", "let ints = []; ints.pad(10_000, 7);"),
    ("texts", "let one = \"\"; one.pad(1_000_000, 'x'); let texts = []; texts.pad(10_000, one);"),
    ("map", "let one = \"\"; one.pad(1_000_000, 'x'); let map = #{}; for i in 0..9_999 { map[\"k\" + i] = one; }"),
    ("bytes", "let bytes = blob(1_000_000, 65);"),
];

/// What makes the values that the call names.
fn made(call: &str) -> String {
    let named = |name: &str| call.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    LARGE.iter().filter(|(name, _)| named(name)).map(|(_, make)| *make).collect()
}

const CALLS: &[&str] = &[
    "text + text",
    "text - text",
    "text - 'x'",
    "text == text + \"\"",
    "text < text",
    "text.to_upper()",
    "text.to_lower()",
    "text.trim()",
    "text.make_upper()",
    "text.contains(text)",
    "text.contains(\"xxxxxxxxxxxxxxxy\")",
    "text.index_of(\"xxxxxxxxxxxxxxxxxxxxxxxxy\")",
    "text.index_of('y', 500_000)",
    "text.starts_with(text)",
    "text.ends_with(text)",
    "text.replace(\"x\", \"y\")",
    "text.replace(\"x\", text)",
    "text.replace('x', 'y')",
    "text.sub_string(500_000, 100)",
    "text.crop(10, 500_000)",
    "text.truncate(10)",
    "text.len()",
    "text.bytes",
    "text.to_blob()",
    "text.split(500_000)",
    "words.split()",
    "words.split(\" \")",
    "words.to_chars()",
    "text.remove(\"x\")",
    "text.pop(500_000)",
    "text.set(999_999, 'y')",
    "text[999_999]",
    "text[-1]",
    "text.get(999_999)",
    "parse_int(text)",
    "parse_float(text)",
    "text.chars()",
    "max(text, text)",
    "text.to_string()",
    "text.to_debug()",
    "`${text}`",
    "text += text",
    "text.clear()",
    "text += 'x'",
    "ints + ints",
    "ints == ints",
    "texts == texts",
    "ints.contains(8)",
    "texts.contains(text + \"y\")",
    "texts.index_of(\"y\")",
    "ints.sort()",
    "texts.sort()",
    "texts.sort_desc()",
    "ints.sort(|a, b| a - b)",
    "texts.dedup()",
    "ints.reverse()",
    "ints.insert(0, 1)",
    "ints.shift()",
    "ints.remove(0)",
    "ints.splice(0, 5_000, [1])",
    "ints.extract(0..5_000)",
    "ints.drain(0..5_000)",
    "ints.retain(0..5_000)",
    "ints.chop(10)",
    "ints.truncate(10)",
    "ints.split(5_000)",
    "ints.map(|x| x)",
    "ints.filter(|x| true)",
    "ints.reduce(|a, b| a)",
    "ints.for_each(|| ())",
    "ints.some(|x| false)",
    "ints.all(|x| true)",
    "ints.find(|x| false)",
    "ints.zip(ints, |a, b| a)",
    "ints.to_string()",
    "texts.to_string()",
    "texts.to_debug()",
    "ints.pad(10_000, 1)",
    "ints.append(ints)",
    "ints += ints",
    "ints += 1",
    "ints.push(1)",
    "ints.pop()",
    "ints.order()",
    "texts.order_desc()",
    "`${texts}`",
    "json::stringify(texts)",
    "map == map",
    "map != map",
    "map.keys()",
    "map.values()",
    "map.to_json()",
    "map.to_string()",
    "map + map",
    "map.mixin(map)",
    "map.fill_with(map)",
    "map.remove(\"k5\")",
    "map.contains(\"k7\")",
    "map.filter(|k, v| true)",
    "map.drain(|k, v| true)",
    "map.clear()",
    "`${map}`",
    "log::info(map, map)",
    "print(texts)",
    "json::stringify_pretty(map)",
    "bytes + bytes",
    "bytes == bytes",
    "bytes += bytes",
    "bytes.as_string()",
    "bytes.to_array()",
    "bytes.reverse()",
    "bytes.contains(1)",
    "bytes.insert(0, 1)",
    "bytes.splice(0, 10, bytes)",
    "bytes.extract(0, 500_000)",
    "bytes.drain(0, 500_000)",
    "bytes.retain(0, 10)",
    "bytes.pad(1_000_000, 1)",
    "bytes.parse_le_int(0, 8)",
    "bytes.write_utf8(0, 500_000, text)",
    "blob(1_000_000)",
    "bytes.chop(5)",
    "bytes.split(5)",
    "bytes.append(text)",
    "bytes.shift()",
    "bytes.remove(0)",
    "base64::encode(text)",
    "base64::encode(bytes)",
    "base64::decode(text)",
    "hex::encode(bytes)",
    "hex::decode(text)",
    "url::encode(text)",
    "url::decode(text)",
    "url::parse(text)",
    "url::parse(\"http://\" + text)",
    "url::query(map)",
    "json::parse(text)",
    "json::parse(\"[\" + text)",
    "regex::is_match(text, \"(x+x+)+y\")",
    "regex::find(text, \"(x|xx)*y\")",
    "regex::find_all(text, \"x\")",
    "regex::find_all(words, \"x+\")",
    "regex::captures(text, \"(x*)(x*)(x*)y\")",
    "regex::replace(text, \"x\", text)",
    "regex::replace(text, \"(x+)\", \"$1$1$1\")",
    "regex::is_match(text, text)",
    "crypto::sha256(text)",
    "crypto::hmac_sha256(text, text)",
    "crypto::equal(text, text)",
    "crypto::verify_webhook(text, map, text)",
    "random::bytes(1_000_000)",
    "random::string(1_000_000)",
    "random::choose(texts)",
    "retry::run(#{max_attempts: 1}, || texts)",
    "retry::run(map, || ())",
    "retry::run(#{backoff: text}, || ())",
    "retry::never(text)",
    "throw retry::never(text)",
    "`${retry::never(text)}`",
    "time::parse(text)",
    "time::format(0, text)",
    "time::format(0, \"%Y\", text)",
    "time::add(0, map)",
    "http::get(text)",
    "http::get(\"http://\" + text)",
    "http::get(\"http://a.example\", map)",
    "http::get(\"http://a.example\", #{headers: map})",
    "http::get(\"http://a.example\", #{headers: #{a: texts}})",
    "http::get(\"http://a.example\", #{query: map})",
    "http::post(\"http://a.example\", text)",
    "http::post(\"http://a.example\", bytes)",
    "http::post(\"http://a.example\", texts)",
    "http::post(\"http://a.example\", (), #{form: map})",
    "http::request(map)",
    "kv::collection(text)",
    "kv::collection(\"c\").get(text)",
    "kv::collection(\"c\").set(\"k\", texts)",
    "kv::collection(\"c\").list(map)",
    "throw text",
    "throw texts",
    "2 ** 62",
    "9223372036854775807 * 2",
    "1 << 64",
    "exp(1e300)",
    "range(0, 9223372036854775807)",
    "0..9223372036854775807",
    "(0..9223372036854775807).contains(5)",
    "bits(5)",
    "Fn(text)",
    "text.call()",
    "call(Fn(\"x\"), text)",
    "is_def_fn(text, 1)",
    "Fn(\"x\").curry(texts, map)",
    "type_of(texts)",
];

#[test]
fn no_call_takes_long_at_the_limits() {
    let roomy = Limits { max_operations: 10_000_000, timeout_ms: 30_000, ..Limits::DEFAULT };
    // What each takes beyond making the values, measured inside the run by the lines it logs.
    for call in CALLS {
        let source =
            format!("{} log::info(\"before\"); try {{ {call}; }} catch {{ }} log::info(\"after\");", made(call));
        let report = script(&source).limits(roomy).run();
        let Some(before) = report.logs.iter().find(|line| line.message == "before") else {
            panic!("{call}: the values could not be made: {:?}", report.result);
        };
        // A call that ended the run wrote no second line: it is limited, and tested for time in `limits`.
        let Some(after) = report.logs.iter().rfind(|line| line.message == "after") else { continue };
        if Duration::from_micros(after.after_us - before.after_us) > AT_MOST {
            can_be_stopped(call, &source, before.after_us);
        }
    }
}

/// A call that does take long ends with its run's deadline all the same.
fn can_be_stopped(call: &str, source: &str, before_us: u64) {
    let timeout_ms = before_us / 1000 + 200;
    let limits = Limits { max_operations: 10_000_000, timeout_ms, ..Limits::DEFAULT };
    let began = Instant::now();
    let report = script(source).limits(limits).run();
    let late = began.elapsed().saturating_sub(Duration::from_millis(timeout_ms));
    assert!(late < AT_MOST, "{call}: ended {late:?} late: {:?}", report.result);
}
