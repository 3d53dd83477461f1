//! What is wrong with a source, before it is stored.
//!
//! The compiler finds what is no script; here, names that nothing answers to are found as well. A method's name may be
//! a function in a map, so that an unknown one is only a warning.

mod known;
mod walk;

use picloud_core::{
    event::FailureReason,
    limits::Limits,
    run::{Diagnostic, Failure, Severity},
};
use rhai::{OptimizationLevel, ParseError, ParseErrorType, Position};

use super::engine::Library;
use known::Known;

/// More than this would help nobody.
const MAX_DIAGNOSTICS: usize = 100;

/// Everything wrong with a source, in order of place.
pub(super) fn validate(library: &Library, source: &str, limits: &Limits) -> Vec<Diagnostic> {
    let mut engine = library.fresh(limits);
    // The optimiser removes what cannot be reached; a name in there is wrong all the same.
    engine.set_optimization_level(OptimizationLevel::None);
    let ast = match engine.compile(source) {
        Ok(ast) => ast,
        Err(error) => return vec![syntax(&error, source)],
    };
    let known = Known::of(&engine, &ast);
    let mut diagnostics = walk::walk(&ast, &known);
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    diagnostics.dedup();
    diagnostics.truncate(MAX_DIAGNOSTICS);
    diagnostics
}

/// A source that does not compile, met when it was to be run.
pub(super) fn failure(error: &ParseError) -> Failure {
    let (line, column) = place(error.position());
    Failure {
        reason: FailureReason::Threw,
        message: format!("the script does not compile: {}", explain(error.err_type())),
        line: Some(line),
        column: Some(column),
        limit: None,
        retry: None,
    }
}

fn syntax(error: &ParseError, source: &str) -> Diagnostic {
    let (line, column) = if error.position().is_none() { end_of(source) } else { place(error.position()) };
    Diagnostic { severity: Severity::Error, line, column, message: explain(error.err_type()) }
}

fn explain(error: &ParseErrorType) -> String {
    match error {
        ParseErrorType::UnexpectedEOF => "the script ends too early: something is not closed".to_owned(),
        ParseErrorType::ExprTooDeep => "this nests deeper than `max_expr_depth` allows".to_owned(),
        ParseErrorType::ForbiddenVariable(name) => {
            format!("`{name}` is given by PiCloud and cannot be defined: choose another name")
        }
        other => lower_first(&other.to_string()),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Line and column, from 1.
fn place(position: Position) -> (u32, u32) {
    let number = |number: Option<usize>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(1).max(1);
    (number(position.line()), number(position.position()))
}

fn end_of(source: &str) -> (u32, u32) {
    let line = source.lines().count().max(1);
    let column = source.lines().last().map_or(0, |last| last.chars().count()) + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}
