//! Which names a script may use, with how many arguments.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Engine, Stmt};

/// Functions that are part of the language rather than registered: name and numbers of arguments.
const KEYWORDS: &[(&str, std::ops::RangeInclusive<usize>)] = &[
    ("Fn", 1..=1),
    ("call", 1..=usize::MAX),
    ("curry", 1..=usize::MAX),
    ("debug", 1..=1),
    ("is_def_fn", 2..=3),
    ("is_def_var", 1..=1),
    ("is_shared", 1..=1),
    ("print", 1..=1),
    ("type_of", 1..=1),
];

/// The closest name may be so far away, in edits as a share of its length.
const FARTHEST: f64 = 0.5;

/// All names of an engine and a script.
pub(super) struct Known {
    /// By name, the numbers of arguments it takes; the object of a method is the first.
    global: BTreeMap<String, BTreeSet<usize>>,
    /// The script's own.
    own: BTreeMap<String, BTreeSet<usize>>,
    modules: BTreeMap<String, BTreeMap<String, BTreeSet<usize>>>,
    /// Variables that closures capture and that are defined where they do.
    captured: BTreeSet<String>,
}

/// What is known about a call.
pub(super) enum Answer {
    /// It is there.
    Fits,
    /// The name is there, with these numbers of arguments only.
    Takes(Vec<usize>),
    /// Nothing has the name; perhaps something close has.
    Unknown(Option<String>),
}

impl Known {
    pub(super) fn of(engine: &Engine, ast: &AST) -> Self {
        let mut known =
            Self { global: BTreeMap::new(), own: BTreeMap::new(), modules: BTreeMap::new(), captured: captured(ast) };
        let all = engine.collect_fn_metadata(
            None,
            |info| Some((info.namespace.to_string(), info.metadata.name.to_string(), info.metadata.num_params)),
            true,
        );
        for (module, name, arguments) in all {
            let names = if module.is_empty() { &mut known.global } else { known.modules.entry(module).or_default() };
            names.entry(name).or_default().insert(arguments);
        }
        for function in ast.iter_functions() {
            known.own.entry(function.name.to_owned()).or_default().insert(function.params.len());
        }
        known
    }

    /// Whether the script itself has a function of that name.
    pub(super) fn is_own_function(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// Whether a name without a place is a variable all the same: inside a closure, captured ones have none.
    pub(super) fn is_captured(&self, name: &str) -> bool {
        self.captured.contains(name)
    }

    /// A plain call `name(…)`.
    pub(super) fn call(&self, name: &str, arguments: usize) -> Answer {
        if is_keyword(name, arguments) {
            return Answer::Fits;
        }
        self.look_up(name, |own| own == arguments, |registered| registered == arguments)
    }

    /// A call `object.name(…)`: the script's own functions find the object as `this`.
    pub(super) fn method(&self, name: &str, arguments: usize) -> Answer {
        if is_keyword(name, arguments + 1) {
            return Answer::Fits;
        }
        self.look_up(name, |own| own == arguments, |registered| registered == arguments + 1)
    }

    /// A call `module::name(…)`; `Err` when there is no such module, perhaps with one that is close.
    pub(super) fn qualified(&self, module: &str, name: &str, arguments: usize) -> Result<Answer, Option<String>> {
        let Some(names) = self.modules.get(module) else { return Err(nearest(module, self.modules.keys())) };
        Ok(match names.get(name) {
            Some(takes) if takes.contains(&arguments) => Answer::Fits,
            Some(takes) => Answer::Takes(takes.iter().copied().collect()),
            None => Answer::Unknown(nearest(name, names.keys()).map(|name| format!("{module}::{name}"))),
        })
    }

    fn look_up(&self, name: &str, own: impl Fn(usize) -> bool, registered: impl Fn(usize) -> bool) -> Answer {
        let own_takes = self.own.get(name).into_iter().flatten().copied();
        let takes = self.global.get(name).into_iter().flatten().copied();
        if own_takes.clone().any(own) || takes.clone().any(registered) {
            return Answer::Fits;
        }
        let numbers: BTreeSet<usize> = own_takes.chain(takes).collect();
        if !numbers.is_empty() {
            return Answer::Takes(numbers.into_iter().collect());
        }
        let keywords = KEYWORDS.iter().map(|(keyword, _)| (*keyword).to_owned()).collect::<Vec<_>>();
        let candidates = self.own.keys().chain(self.global.keys()).chain(&keywords);
        Answer::Unknown(nearest(name, candidates.filter(|name| is_identifier(name))))
    }
}

fn captured(ast: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Share(variables))) = path.last() {
            let defined = variables.iter().filter(|(_, index)| index.is_some());
            names.extend(defined.map(|(variable, _)| variable.as_str().to_owned()));
        }
        true
    });
    names
}

fn is_keyword(name: &str, arguments: usize) -> bool {
    KEYWORDS.iter().any(|(keyword, takes)| *keyword == name && takes.contains(&arguments))
}

fn is_identifier(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_') && !name.contains('$')
}

/// The name that is written most alike, if any is close.
pub(super) fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n String>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        // Of equally many edits, the one that begins alike.
        .min_by(|(a, a_name), (b, b_name)| {
            let alike = |candidate: &str| strsim::jaro_winkler(name, candidate);
            a.cmp(b).then_with(|| alike(b_name).total_cmp(&alike(a_name)))
        })
        .filter(|(distance, candidate)| {
            let longer = name.chars().count().max(candidate.chars().count());
            (*distance as f64) <= longer as f64 * FARTHEST
        })
        .map(|(_, candidate)| candidate.clone())
}
