//! `kv::`: values by key, in named collections of the app.

use chrono::TimeDelta;
use picloud_core::{capability::Capability, name};
use rhai::{Array, Dynamic, EvalAltResult, INT, ImmutableString, Map};
use serde_json::value::RawValue;

use super::{options::shortened, stored::stored};
use crate::sandbox::{
    current::{thrown, with, with_data},
    meter,
    registry::Registry,
    rights::need,
    value::{ReadError, Room, kind_name, read_json},
};

type Refused = Box<EvalAltResult>;

const MAX_TTL_S: INT = 10 * 365 * 24 * 60 * 60;
const MAX_LIST: INT = 1000;
const DEFAULT_LIST: usize = 100;

/// A collection, by its name: what `kv::collection` hands out.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Collection(ImmutableString);

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry.add(
        "collection(name: string) -> Collection",
        "The collection of that name: lower-case letters, digits, `-` and `_`, up to 63.",
        |name: ImmutableString| {
            if name::is_name(&name) {
                return Ok(Collection(name));
            }
            let name: String = name.chars().take(80).collect();
            Err(thrown(format!(
                "kv::collection: `{name}` is no collection name: use up to 63 of a-z, 0-9, `-` and `_`, \
                 beginning with a letter or digit"
            )))
        },
    );
}

pub(in crate::sandbox) fn register_methods(registry: &mut Registry) {
    registry
        .add(
            "get(collection: Collection, key: string) -> ?",
            "The key's value; `()` when there is none.",
            |c: &mut Collection, k: &str| c.get("get", k).map(Option::unwrap_or_default),
        )
        .add(
            "get_or(collection: Collection, key: string, default: ?) -> ?",
            "The key's value; the default when there is none.",
            |c: &mut Collection, k: &str, default: Dynamic| c.get("get_or", k).map(|value| value.unwrap_or(default)),
        )
        .add(
            "has(collection: Collection, key: string) -> bool",
            "Whether the key has a value.",
            |c: &mut Collection, k: &str| c.get("has", k).map(|value| value.is_some()),
        )
        .add(
            "set(collection: Collection, key: string, value: ?)",
            "Gives the key a value.",
            |c: &mut Collection, k: &str, v: Dynamic| c.set(k, &v, None),
        )
        .add(
            "set(collection: Collection, key: string, value: ?, options: map)",
            "Gives the key a value; with `#{ttl_s}` for so many seconds.",
            |c: &mut Collection, k: &str, v: Dynamic, options: Map| c.set(k, &v, Some(&options)),
        )
        .add(
            "delete(collection: Collection, key: string) -> bool",
            "Removes the key; says whether it was there.",
            |c: &mut Collection, k: &str| {
                need("kv::delete", Capability::AppKvWrite)?;
                check_key("delete", k)?;
                with_data(|data| data.kv_delete(&c.0, k))
            },
        )
        .add(
            "increment(collection: Collection, key: string, by: int)",
            "Adds to the key's whole number, from 0 when there is none; never conflicts.",
            |c: &mut Collection, k: &str, by: INT| {
                need("kv::increment", Capability::AppKvWrite)?;
                check_key("increment", k)?;
                with_data(|data| data.kv_increment(&c.0, k, by))
            },
        )
        .add(
            "list(collection: Collection) -> map",
            "The first entries by key: `#{items: [#{key, value}], cursor}`.",
            |c: &mut Collection| c.list(&Map::new()),
        )
        .add(
            "list(collection: Collection, options: map) -> map",
            "Entries by key: options `#{prefix, limit, cursor}`, answers `#{items: [#{key, value}], cursor}`.",
            |c: &mut Collection, options: Map| c.list(&options),
        );
}

impl Collection {
    fn get(&self, call: &str, key: &str) -> Result<Option<Dynamic>, Refused> {
        need(format_args!("kv::{call}"), Capability::AppKvRead)?;
        check_key(call, key)?;
        let Some(stored) = with_data(|data| data.kv_get(&self.0, key))? else { return Ok(None) };
        value(call, key, &stored).map(Some)
    }

    fn set(&self, key: &str, value: &Dynamic, options: Option<&Map>) -> Result<(), Refused> {
        need("kv::set", Capability::AppKvWrite)?;
        check_key("set", key)?;
        let ttl_s = options.map(ttl).transpose()?.flatten();
        let limits = meter::limits();
        let room = Room { bytes: limits.max_kv_value_bytes, limit: "max_kv_value_bytes" };
        let json = stored(value, room, || format!("kv set: the value of `{}`", shortened(key)))?;
        let expires_at = match ttl_s {
            Some(ttl_s) => Some(with(|run| run.input.now)? + TimeDelta::seconds(ttl_s)),
            None => None,
        };
        with_data(|data| data.kv_set(&self.0, key, json, expires_at))
    }

    fn list(&self, options: &Map) -> Result<Map, Refused> {
        need("kv::list", Capability::AppKvRead)?;
        known("list", options, &["prefix", "limit", "cursor"])?;
        let prefix = text_option("list", options, "prefix")?.unwrap_or_default();
        let cursor = text_option("list", options, "cursor")?;
        let limit = match options.get("limit").filter(|limit| !limit.is_unit()) {
            None => DEFAULT_LIST,
            Some(limit) => match limit.as_int() {
                Ok(limit @ 1..=MAX_LIST) => usize::try_from(limit).expect("it is between 1 and 1000"),
                _ => {
                    return Err(thrown(format!("kv list: `limit` is {limit}: it must be an int from 1 to {MAX_LIST}")));
                }
            },
        };
        meter::array_fits(limit)?;
        let page = with_data(|data| data.kv_list(&self.0, &prefix, limit, cursor.as_deref()))?;
        let mut items = Array::with_capacity(page.items.len());
        for (key, stored) in page.items {
            let mut item = Map::new();
            item.insert("value".into(), value("list", &key, &stored)?);
            item.insert("key".into(), key.into());
            items.push(Dynamic::from_map(item));
        }
        let mut answer = Map::new();
        answer.insert("items".into(), Dynamic::from_array(items));
        answer.insert("cursor".into(), page.cursor.map_or(Dynamic::UNIT, Into::into));
        Ok(answer)
    }
}

fn value(call: &str, key: &str, stored: &RawValue) -> Result<Dynamic, Refused> {
    read_json(stored.get().as_bytes(), &meter::limits()).map_err(|error| match error {
        ReadError::Limit { name, message } => meter::over_limit(name, message),
        error => thrown(format!("kv {call}: the value of `{}` cannot be read: {error}", shortened(key))),
    })
}

fn check_key(call: &str, key: &str) -> Result<(), Refused> {
    let allowed = meter::limits().max_kv_key_bytes;
    if key.is_empty() {
        return Err(thrown(format!("kv {call}: the key is empty")));
    }
    if key.len() > allowed {
        let message = format!("kv {call}: the key `{}…` is longer than {allowed} bytes", shortened(key));
        return Err(meter::over_limit("max_kv_key_bytes", message));
    }
    if key.contains('\0') {
        return Err(thrown(format!("kv {call}: the key `{}` has the character U+0000", shortened(key).escape_debug())));
    }
    Ok(())
}

fn ttl(options: &Map) -> Result<Option<INT>, Refused> {
    known("set", options, &["ttl_s"])?;
    match options.get("ttl_s") {
        None => Ok(None),
        Some(ttl) if ttl.is_unit() => Ok(None),
        Some(ttl) => match ttl.as_int() {
            Ok(seconds @ 1..=MAX_TTL_S) => Ok(Some(seconds)),
            _ => Err(thrown(format!("kv set: `ttl_s` is {ttl}: it must be an int from 1 to {MAX_TTL_S}"))),
        },
    }
}

fn known(call: &str, options: &Map, names: &[&str]) -> Result<(), Refused> {
    match options.keys().find(|given| !names.contains(&given.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(thrown(format!(
            "kv {call}: there is no option `{}`; there is {}",
            shortened(unknown),
            names.join(", ")
        ))),
    }
}

fn text_option(call: &str, options: &Map, name: &str) -> Result<Option<String>, Refused> {
    match options.get(name) {
        None => Ok(None),
        Some(value) if value.is_unit() => Ok(None),
        Some(value) => match value.read_lock::<ImmutableString>() {
            Some(text) => Ok(Some(text.to_string())),
            None => Err(thrown(format!("kv {call}: `{name}` is {}: it must be a string", kind_name(value)))),
        },
    }
}
