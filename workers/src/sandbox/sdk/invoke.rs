//! `invoke::`: other scripts of the app.

use std::sync::Arc;

use bytes::Bytes;
use picloud_core::{capability::Capability, id::OutboxId, run::Program};
use rhai::{Dynamic, EvalAltResult, Map};

use super::{
    options::Options,
    queue::{due_at, key},
    stored::stored,
};
use crate::sandbox::{
    current::{with, with_data},
    data::Later,
    registry::Registry,
    rights::need,
    value::Room,
};

type Refused = Box<EvalAltResult>;

/// What waits is kept in the log: as much as of a request that is answered before it runs.
const MAX_KEPT_BYTES: usize = 2 << 20;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "later(script: string, args: ?) -> string",
            "Runs another script of the app once this run has committed, and again until it succeeds, up to five times. It \
             finds the arguments in `ctx.request.body`, and `invoke` in `ctx.invocation_type`. Answers the id of the item \
             of the outbox.",
            |script: &str, args: Dynamic| later(script, &args, &Map::new()),
        )
        .add(
            "later(script: string, args: ?, options: map) -> string",
            "As `later(script, args)`, with options `#{delay_s, key}`: not before so many seconds, up to 30 days, have passed \
             since this run began; one at a time and in order with runs of the script under the same key (up to 255 \
             bytes).",
            |script: &str, args: Dynamic, options: Map| later(script, &args, &options),
        );
}

fn later(script: &str, args: &Dynamic, options: &Map) -> Result<String, Refused> {
    const CALL: &str = "invoke::later";
    need(CALL, Capability::AppInvoke)?;
    let options = Options::of(CALL, options, &["delay_s", "key"])?;
    let (due_at, key) = (due_at(&options)?, key(CALL, &options)?);
    let program = with_data(|data| data.target(script).map_err(|error| error.of_call(CALL)))?;
    let args = arguments(CALL, &program, args, MAX_KEPT_BYTES)?;
    let item = OutboxId::from(with(|run| run.ulid())?);
    with_data(|data| data.invoke_later(Later { item, script: program.script, args, key, due_at }))?;
    Ok(item.to_string())
}

/// What the script is to find as its body.
fn arguments(call: &str, program: &Arc<Program>, args: &Dynamic, most: usize) -> Result<Bytes, Refused> {
    let room = Room { bytes: program.limits.max_request_bytes.min(most), limit: "max_request_bytes" };
    let json = stored(args, room, || format!("{call}: the arguments of `{}`", program.name))?;
    Ok(Box::<str>::from(json).into_string().into())
}
