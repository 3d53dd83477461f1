//! The routes of one host pattern, by path: exact ones by hash, the others in a trie of segments.
//!
//! A search visits only nodes that match, each at most once, so it is bounded by the routes and by the path's length.

use std::collections::HashMap;

use super::{Allow, MethodPattern, PathKind, PathPattern, PathRank, Segment, decode};

/// Which route answers a method, by its index in the table.
#[derive(Clone, Debug, Default)]
struct Methods {
    named: Vec<(Box<str>, usize)>,
    any: Option<usize>,
}

impl Methods {
    /// The first route of a method stays: equals are refused before they get here, and the table sorts them by id.
    fn insert(&mut self, method: &MethodPattern, route: usize) {
        match method {
            MethodPattern::Any => {
                self.any.get_or_insert(route);
            }
            MethodPattern::Named(name) if self.named(name).is_none() => self.named.push((name.clone(), route)),
            MethodPattern::Named(_) => {}
        }
    }

    fn named(&self, method: &str) -> Option<usize> {
        self.named.iter().find(|(name, _)| **name == *method).map(|(_, route)| *route)
    }

    /// The best route for a method, and how well it names it.
    fn pick(&self, method: &str) -> Option<(Named, usize)> {
        let as_get = || if method == "HEAD" { self.named("GET") } else { None };
        let itself = self.named(method).map(|route| (Named::Itself, route));
        itself.or_else(|| Some((Named::AsGet, as_get()?))).or_else(|| Some((Named::Any, self.any?)))
    }

    fn add_to(&self, allow: &mut Allow) {
        allow.any |= self.any.is_some();
        allow.named.extend(self.named.iter().map(|(name, _)| name.to_string()));
    }
}

/// How well a route names a method, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Any,
    /// `GET` answers `HEAD`.
    AsGet,
    Itself,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Self>,
    param: Option<Box<Self>>,
    /// Patterns with params that end here.
    here: Methods,
    /// Prefixes whose star stands here.
    below: Methods,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    exact: HashMap<Box<str>, Methods>,
    root: Node,
}

impl Trie {
    pub(super) fn insert(&mut self, path: &PathPattern, method: &MethodPattern, route: usize) {
        if path.kind() == PathKind::Exact {
            self.exact.entry(path.as_str().into()).or_default().insert(method, route);
            return;
        }
        let node = path.segments().iter().fold(&mut self.root, |node, segment| match segment {
            Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
            Segment::Param(_) => node.param.get_or_insert_default(),
        });
        let methods = if path.kind() == PathKind::Prefix { &mut node.below } else { &mut node.here };
        methods.insert(method, route);
    }

    /// The best route for a path (raw, with its leading slash) and a method.
    pub(super) fn find(&self, path: &str, method: &str) -> Option<usize> {
        if let Some((_, route)) = self.exactly(path).and_then(|methods| methods.pick(method)) {
            return Some(route);
        }
        let mut best: Option<(PathRank, Named, usize)> = None;
        self.root.visit(path.strip_prefix('/'), Depth::default(), &mut |rank, methods| {
            // The first of equals stays: literals are visited before params.
            if let Some((named, route)) = methods.pick(method)
                && best.is_none_or(|(path, method, _)| (rank, named) > (path, method))
            {
                best = Some((rank, named, route));
            }
        });
        best.map(|(_, _, route)| route)
    }

    /// Adds the methods of all routes that match a path.
    pub(super) fn allow(&self, path: &str, allow: &mut Allow) {
        if let Some(methods) = self.exactly(path) {
            methods.add_to(allow);
        }
        self.root.visit(path.strip_prefix('/'), Depth::default(), &mut |_, methods| methods.add_to(allow));
    }

    fn exactly(&self, path: &str) -> Option<&Methods> {
        if self.exact.is_empty() {
            return None;
        }
        if !path.as_bytes().contains(&b'%') {
            return self.exact.get(path);
        }
        let mut decoded = String::with_capacity(path.len());
        for (index, segment) in path.split('/').enumerate() {
            let segment = decode(segment);
            if segment.contains('/') {
                return None;
            }
            if index > 0 {
                decoded.push('/');
            }
            decoded.push_str(&segment);
        }
        self.exact.get(decoded.as_str())
    }
}

/// How far a search has come.
#[derive(Clone, Copy, Default)]
struct Depth {
    segments: usize,
    /// Literal segments before the first param.
    leading: usize,
    is_varied: bool,
}

impl Depth {
    fn literal(self) -> Self {
        Self { segments: self.segments + 1, leading: self.leading + usize::from(!self.is_varied), ..self }
    }

    fn param(self) -> Self {
        Self { segments: self.segments + 1, is_varied: true, ..self }
    }

    fn rank(self, kind: PathKind) -> PathRank {
        let prefix = if kind == PathKind::Prefix { self.segments } else { 0 };
        PathRank { kind, leading: self.leading, prefix }
    }
}

impl Node {
    /// Shows `found` every set of routes that matches what is left of a path (none: it is used up).
    fn visit<'n>(&'n self, rest: Option<&str>, depth: Depth, found: &mut impl FnMut(PathRank, &'n Methods)) {
        let Some(rest) = rest else {
            found(depth.rank(PathKind::Param), &self.here);
            return;
        };
        let (segment, after) = rest.split_once('/').map_or((rest, None), |(segment, after)| (segment, Some(after)));
        if !self.literals.is_empty()
            && let Some(child) = self.literals.get(&*decode(segment))
        {
            child.visit(after, depth.literal(), found);
        }
        if let Some(child) = self.param.as_deref().filter(|_| !segment.is_empty()) {
            child.visit(after, depth.param(), found);
        }
        if !rest.is_empty() {
            found(depth.rank(PathKind::Prefix), &self.below);
        }
    }
}
