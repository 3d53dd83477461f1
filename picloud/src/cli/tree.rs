//! What a run belongs to, drawn as a tree.

use std::fmt::Write as _;

use serde_json::Value;

use super::print::{self, BAD, CAREFUL, GOOD, QUIET};

/// So much of an error fits on a line.
const ERROR_CHARS: usize = 160;

/// All trees of the answer, with the run that was asked for marked.
pub(super) fn told(answer: &Value) -> String {
    let mut told = String::new();
    let asked = answer["id"].as_str().unwrap_or_default();
    for tree in answer["trees"].as_array().into_iter().flatten() {
        draw(&mut told, tree, asked, "", "");
    }
    if answer["is_cut"] == true {
        let _ = writeln!(told, "{QUIET}there is more than is shown: `picloud events --root` lists all{QUIET:#}");
    }
    told
}

/// A node behind its branch, what follows from it below.
fn draw(told: &mut String, node: &Value, asked: &str, branch: &str, below: &str) {
    let text = |name: &str| print::plain(node[name].as_str().unwrap_or_default());
    let (id, kind) = (text("id"), text("kind"));
    let mark = if id == asked { " ◀" } else { "" };
    let _ = write!(told, "{QUIET}{}  {branch}{QUIET:#}", print::clock(&text("time")));
    let _ = match &*kind {
        "event" => write!(told, "{}", text("what")),
        "dead_letter" => write!(told, "dead letter {}  {QUIET}{id}{QUIET:#}", text("what")),
        "item" => write!(told, "owed: {}  {QUIET}{id}{QUIET:#}", text("what")),
        _ => {
            let attempt = node["attempts"].as_u64().map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
            write!(told, "run of {}{attempt}  {QUIET}{id}{QUIET:#}", text("what"))
        }
    };
    let _ = writeln!(told, "{}{mark}", became(node));
    if let Some(error) = node["error"].as_str() {
        let _ =
            writeln!(told, "              {QUIET}{below}{QUIET:#}  {BAD}{}{BAD:#}", print::short(error, ERROR_CHARS));
    }
    let children: Vec<&Value> = node["children"].as_array().into_iter().flatten().collect();
    for (n, child) in children.iter().enumerate() {
        let (branch, rest) = if n + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(told, child, asked, &format!("{below}{branch}"), &format!("{below}{rest}"));
    }
}

/// What became of it, and how long that took.
fn became(node: &Value) -> String {
    let Some(status) = node["status"].as_str() else { return String::new() };
    let style = match status {
        "ok" | "delivered" | "handled_by_script" => GOOD,
        "failed" | "dead" | "open" => BAD,
        _ => CAREFUL,
    };
    let mut became = format!("  {style}{}{style:#}", status.replace('_', " "));
    if let Some(us) = node["duration_us"].as_f64() {
        let _ = write!(became, " after {}", print::duration(us));
    }
    if let Some(due_at) = node["due_at"].as_str() {
        let _ = write!(became, ", due at {due_at}");
    }
    became
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_shows_what_followed_and_what_went_wrong() {
        let node = |kind: &str, id: &str, what: &str, status: &str, more: Value| {
            let mut node =
                json!({ "kind": kind, "id": id, "what": what, "time": "2026-03-01T02:00:00.123456Z", "children": [] });
            if !status.is_empty() {
                node["status"] = status.into();
            }
            for (name, value) in more.as_object().into_iter().flatten() {
                node[name] = value.clone();
            }
            node
        };
        let failed = node(
            "run",
            "inv_2",
            "ship",
            "failed",
            json!({ "attempts": 1, "duration_us": 900, "error": "threw: no address for order 42" }),
        );
        let letter = node(
            "dead_letter",
            "dl_1",
            "ship (attempts_exhausted)",
            "open",
            json!({ "error": "no address for order 42" }),
        );
        let item = node(
            "item",
            "out_1",
            "ship (trigger trg_1)",
            "dead",
            json!({ "duration_us": 1_500_000, "children": [failed, letter] }),
        );
        let set = node("event", "evt_1", "kv.set kv:orders/42", "", json!({ "children": [item] }));
        let logged = node("event", "evt_2", "message.published topic:orders", "", json!({}));
        let run = node("run", "inv_1", "checkout", "ok", json!({ "duration_us": 3_200, "children": [set, logged] }));
        let told = told(&json!({ "id": "inv_1", "trees": [run], "is_cut": true }));
        let wanted = [
            "02:00:00.123  run of checkout  inv_1  ok after 3.2 ms ◀",
            "02:00:00.123  ├─ kv.set kv:orders/42",
            "02:00:00.123  │  └─ owed: ship (trigger trg_1)  out_1  dead after 1500.0 ms",
            "02:00:00.123  │     ├─ run of ship, attempt 1  inv_2  failed after 900 µs",
            "              │     │    threw: no address for order 42",
            "02:00:00.123  │     └─ dead letter ship (attempts_exhausted)  dl_1  open",
            "              │          no address for order 42",
            "02:00:00.123  └─ message.published topic:orders",
            "there is more than is shown: `picloud events --root` lists all",
        ];
        let told = anstream::adapter::strip_str(&told).to_string();
        assert_eq!(told.lines().collect::<Vec<_>>(), wanted, "{told}");
    }
}
