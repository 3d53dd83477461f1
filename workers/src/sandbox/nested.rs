//! A script that another runs: within the same run, and so with all that the run has left and all that it has done.
//!
//! What differs is whose it is to see: `ctx` and the body are the invoked script's while it runs. Nothing that belongs to
//! a script leaves it: arguments go in as JSON, and a value comes out without functions and without cells.

use std::sync::Arc;

use bytes::Bytes;
use picloud_core::run::{InvocationType, Program, Rights};
use rhai::{Dynamic, EvalAltResult, Position, Scope};

use super::{
    compiled::Compiled,
    current::{Run, thrown, with},
    failure,
    input::Input,
    meter::{self, Over},
    validate,
    value::{detached, read_json, show},
};
use crate::invoked;

type Refused = Box<EvalAltResult>;

/// How deep scripts may run each other, the first not counted.
const MAX_DEPTH: usize = 8;

const CALL: &str = "invoke::run";

/// Runs a program for the script that runs on this thread; `args` is JSON. It may do what its caller may and `rights` allow.
pub(super) fn run(program: &Arc<Program>, rights: Rights, args: Bytes) -> Result<Dynamic, Refused> {
    let compiled = compiled(program)?;
    let body = read_json(&args, &meter::limits()).map_err(|error| thrown(format!("{CALL}: the arguments: {error}")))?;
    let caller = with(|run| Caller::leave(run, program, rights, &compiled, args, body))??;
    let result = meter::nested(|| compiled.engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), &compiled.ast));
    with(|run| caller.come_back(run))?;
    match result {
        Ok(value) => {
            detached(&value).map_err(|refused| refused.of(|| format!("{CALL}: what `{}` answers", program.name)))
        }
        Err(error) => Err(passed_on(&program.name, error)),
    }
}

/// The program, compiled by now. What that takes is not the run's: it stays for others.
fn compiled(program: &Arc<Program>) -> Result<Arc<Compiled>, Refused> {
    let sandbox = with(|run| run.sandbox.clone())?;
    if let Some(known) = sandbox.known(program) {
        return Ok(known);
    }
    if meter::is_short() {
        // Compiling takes longer than a short run may.
        return Err(meter::end(Over::Unavailable));
    }
    meter::uncounted(|| sandbox.compiled(program)).map_err(|error| {
        let failure = validate::failure(&error);
        thrown(format!("{CALL}: `{}` does not compile: {}", program.name, failure.message))
    })
}

/// What is the caller's own, while another script runs for it.
struct Caller {
    program: Arc<Program>,
    input: Input,
    captured: Arc<[Box<str>]>,
    context: Option<Dynamic>,
    body: Option<Dynamic>,
}

impl Caller {
    /// Puts the invoked script in the caller's place.
    fn leave(
        run: &mut Run,
        program: &Arc<Program>,
        rights: Rights,
        compiled: &Compiled,
        args: Bytes,
        body: Dynamic,
    ) -> Result<Self, Refused> {
        if run.callers.len() >= MAX_DEPTH {
            let chain: Vec<&str> = run.callers.iter().map(|caller| &**caller).chain([&*run.program.name]).collect();
            return Err(thrown(format!(
                "{CALL}: `{}` is not run: scripts may run each other {MAX_DEPTH} deep, and this is where {} lead",
                program.name,
                chain.join(" → ")
            )));
        }
        run.callers.push(Arc::clone(&run.program.name));
        let input = Input {
            request: Arc::new(invoked::request(args)),
            kind: InvocationType::Invoke,
            event: None,
            rights: run.input.rights.and(rights),
            ..run.input.clone()
        };
        Ok(Self {
            program: std::mem::replace(&mut run.program, Arc::clone(program)),
            input: std::mem::replace(&mut run.input, input),
            captured: std::mem::replace(&mut run.captured, Arc::clone(&compiled.captured)),
            context: run.context.take(),
            body: run.body.replace(body),
        })
    }

    /// Gives the caller its place back.
    fn come_back(self, run: &mut Run) {
        run.callers.pop();
        let Self { program, input, captured, context, body } = self;
        (run.program, run.input, run.captured, run.context, run.body) = (program, input, captured, context, body);
    }
}

/// What a script threw, for its caller: as it is, if it is a value; its own mistakes with where they were made.
fn passed_on(name: &str, error: Refused) -> Refused {
    let (cause, _) = failure::innermost(&error);
    match cause {
        EvalAltResult::ErrorRuntime(value, _) => {
            let value = detached(value).unwrap_or_else(|_| show::to_text(value).into());
            EvalAltResult::ErrorRuntime(value, Position::NONE).into()
        }
        cause if cause.is_catchable() => {
            let failure = failure::thrown(&error);
            let line = failure.line.map_or_else(String::new, |line| format!(", line {line}"));
            thrown(format!("{CALL}: `{name}`{line}: {}", failure.message))
        }
        _ => ending(*error),
    }
}

/// What ends the run, without the place where it did: that is in another script than the one that is told of.
fn ending(error: EvalAltResult) -> Refused {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => {
            ending(*inner)
        }
        mut innermost => {
            innermost.set_position(Position::NONE);
            innermost.into()
        }
    }
}
