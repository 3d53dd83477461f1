//! Goes through a compiled script and looks every name up.

use picloud_core::run::{Diagnostic, Severity};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use super::{
    known::{Answer, Known},
    place,
};
use crate::sandbox::engine::NO_MODULES;

/// The namespace under which a script's functions find its own constants.
const GLOBAL: &str = "global";

/// Everything in the script that nothing answers to.
pub(super) fn walk(ast: &AST, known: &Known) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(expr)) => expression(expr, known, &mut found),
            Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => plain(call, *position, known, &mut found),
            Some(ASTNode::Stmt(Stmt::Import(_, position))) => {
                found.push(diagnostic(Severity::Error, *position, NO_MODULES.to_owned()));
            }
            _ => (),
        }
        true
    });
    found
}

fn expression(expr: &Expr, known: &Known, found: &mut Vec<Diagnostic>) {
    match expr {
        Expr::FnCall(call, position) => plain(call, *position, known, found),
        Expr::MethodCall(call, position) => {
            let (severity, message) = match known.method(&call.name, call.args.len()) {
                Answer::Fits => return,
                answer => (Severity::Warning, describe(&call.name, "method", call.args.len(), answer, 1)),
            };
            found.push(diagnostic(severity, *position, message));
        }
        Expr::Variable(variable, None, position) => {
            let (index, name, namespace, _) = &**variable;
            // The compiler notes where a variable lies; what has no place is defined nowhere in sight.
            let is_defined = index.is_some()
                || !namespace.is_empty()
                || name == "ctx"
                || known.is_own_function(name)
                || known.is_captured(name);
            if !is_defined {
                found.push(diagnostic(Severity::Error, *position, format!("there is no variable `{name}` here")));
            }
        }
        _ => (),
    }
}

fn plain(call: &FnCallExpr, position: Position, known: &Known, found: &mut Vec<Diagnostic>) {
    if call.is_operator_call() || call.name.contains('$') {
        return;
    }
    let arguments = call.args.len();
    let namespace = &call.namespace;
    let message = if namespace.is_empty() {
        match known.call(&call.name, arguments) {
            Answer::Fits => return,
            answer => describe(&call.name, "function", arguments, answer, 0),
        }
    } else {
        let module = namespace.path.iter().map(|part| part.as_str()).collect::<Vec<_>>().join("::");
        if module == GLOBAL {
            return;
        }
        match known.qualified(&module, &call.name, arguments) {
            Ok(Answer::Fits) => return,
            Ok(answer) => describe(&format!("{module}::{}", call.name), "function", arguments, answer, 0),
            Err(nearest) => format!("there is no module `{module}`{}", suggestion(nearest.as_deref())),
        }
    };
    let position = if namespace.is_empty() { position } else { namespace.position() };
    found.push(diagnostic(Severity::Error, position, message));
}

/// `object` is how many of the arguments a known number counts are the object before the dot.
fn describe(name: &str, what: &str, arguments: usize, answer: Answer, object: usize) -> String {
    match answer {
        Answer::Fits => String::new(),
        Answer::Unknown(nearest) => format!("there is no {what} `{name}`{}", suggestion(nearest.as_deref())),
        Answer::Takes(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(|n| n.saturating_sub(object).to_string()).collect();
            let last = numbers.last().is_some_and(|last| last == "1");
            let noun = if last { "argument" } else { "arguments" };
            format!("`{name}` takes {} {noun}, not {arguments}", numbers.join(" or "))
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default()
}

fn diagnostic(severity: Severity, position: Position, message: String) -> Diagnostic {
    let (line, column) = place(position);
    Diagnostic { severity, line, column, message }
}
