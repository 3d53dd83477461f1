//! The functions that PiCloud gives scripts, one module a file.

pub(super) mod base64;
pub(super) mod crypto;
pub(super) mod dead_letters;
pub(super) mod hex;
pub(super) mod http;
pub(super) mod invoke;
pub(super) mod json;
pub(super) mod kv;
pub(super) mod log;
mod options;
pub(super) mod pubsub;
pub(super) mod queue;
pub(super) mod random;
pub(super) mod regex;
pub(super) mod retry;
mod stored;
pub(super) mod time;
pub(super) mod ulid;
pub(super) mod url;

use rhai::Module;

use super::registry::{FunctionDoc, Registry};

/// One namespace, as `name::function(…)` finds it.
pub(super) struct Namespace {
    pub name: &'static str,
    pub module: Module,
    pub docs: Vec<FunctionDoc>,
}

type Fill = fn(&mut Registry);

/// All namespaces.
pub(super) fn namespaces() -> Vec<Namespace> {
    let all: [(&'static str, Fill); 17] = [
        ("base64", base64::register),
        ("crypto", crypto::register),
        ("dead_letters", dead_letters::register),
        ("hex", hex::register),
        ("http", http::register),
        ("invoke", invoke::register),
        ("json", json::register),
        ("kv", kv::register),
        ("log", log::register),
        ("pubsub", pubsub::register),
        ("queue", queue::register),
        ("random", random::register),
        ("regex", regex::register),
        ("retry", retry::register),
        ("time", time::register),
        ("ulid", ulid::register),
        ("url", url::register),
    ];
    all.into_iter()
        .map(|(name, fill)| {
            let mut registry = Registry::new(name);
            fill(&mut registry);
            let (name, module, docs) = registry.finish();
            Namespace { name, module, docs }
        })
        .collect()
}

/// The methods of what the namespaces hand out, such as a kv collection.
pub(super) fn methods() -> (Module, Vec<FunctionDoc>) {
    let mut registry = Registry::new("");
    kv::register_methods(&mut registry);
    let (_, module, docs) = registry.finish();
    (module, docs)
}
