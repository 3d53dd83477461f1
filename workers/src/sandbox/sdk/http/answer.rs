//! What a script gets of an answer.

use rhai::{Array, Dynamic, EvalAltResult, Map};

use crate::{
    http::Answer,
    sandbox::{body, meter},
};

/// `#{status, headers, body, body_raw}`.
pub(super) fn value(answer: &Answer) -> Result<Map, Box<EvalAltResult>> {
    let limits = meter::limits();
    meter::string_fits(answer.body.len())?;
    meter::spend(answer.size_bytes())?;
    let raw = Dynamic::from_blob(answer.body.to_vec());
    let content_type = answer.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value);
    // Others may say JSON and send a page about their troubles: that is for the script to see, not to fail at.
    let decoded = body::decode(content_type, &answer.body, &limits).unwrap_or_else(|_| raw.clone());
    let mut map = Map::new();
    map.insert("status".into(), i64::from(answer.status).into());
    map.insert("headers".into(), headers(answer));
    map.insert("body".into(), decoded);
    map.insert("body_raw".into(), raw);
    Ok(map)
}

/// By name; values that came more than once are joined, as in `ctx.request.headers`. Cookies have commas of their own:
/// `set-cookie` is an array.
fn headers(answer: &Answer) -> Dynamic {
    let mut map = Map::new();
    for (name, value) in &answer.headers {
        let entry = map.entry(name.as_str().into()).or_insert(Dynamic::UNIT);
        if name == "set-cookie" {
            if entry.is_unit() {
                *entry = Dynamic::from_array(Array::new());
            }
            if let Some(mut all) = entry.write_lock::<Array>() {
                all.push(value.as_str().into());
            }
        } else {
            *entry = if entry.is_unit() { value.as_str().into() } else { format!("{entry}, {value}").into() };
        }
    }
    Dynamic::from_map(map)
}
