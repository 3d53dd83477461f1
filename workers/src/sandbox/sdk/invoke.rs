//! `invoke::`: other scripts of the app.

use std::sync::Arc;

use bytes::Bytes;
use picloud_core::{capability::Capability, id::OutboxId, run::Program};
use rhai::{Dynamic, EvalAltResult, Map, NativeCallContext};

use super::{
    options::Options,
    queue::{due_at, key},
    stored::stored,
};
use crate::sandbox::{
    current::{with, with_data},
    data::Later,
    nested,
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
            "run(script: string, args: ?) -> ?",
            "Runs another script of the app as a part of this run and answers what it returns. It finds the arguments in \
             `ctx.request.body`; what it writes is committed with this run, what it uses up counts as this run's, and what it \
             throws is thrown here; what it wrote before it threw stays written. Scripts may run each other up to 8 deep. No functions in arguments and answers.",
            |context: NativeCallContext, script: &str, args: Dynamic| {
                run(script, &args).map_err(|mut error| {
                    // What comes from another script has no place in this one but the call.
                    error.set_position(context.call_position());
                    error
                })
            },
        )
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

fn run(script: &str, args: &Dynamic) -> Result<Dynamic, Refused> {
    const CALL: &str = "invoke::run";
    need(CALL, Capability::AppInvoke)?;
    let (program, rights) = with_data(|data| data.program(script).map_err(|error| error.of_call(CALL)))?;
    let args = arguments(CALL, &program, args, usize::MAX)?;
    nested::run(&program, rights, args)
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
