//! All routes of an app, ready to be searched.

use super::{Allow, HostMap, MethodPattern, PathKind, PathPattern, Pattern, Segment, decode, trie::Trie};
use crate::id::RouteId;

/// The routes of one app. `T` is what the owner keeps of a route.
#[derive(Clone, Debug)]
pub struct Table<T> {
    routes: Vec<Entry<T>>,
    hosts: HostMap<Trie>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    path: PathPattern,
    method: MethodPattern,
    value: T,
}

/// What a search comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find<'t, T> {
    /// This route answers.
    Found(Found<'t, T>),
    /// Routes match host and path, none the method.
    MethodNotAllowed {
        /// What they would answer.
        allow: Allow,
    },
    /// No route matches.
    NotFound,
}

/// A route that answers, with what its pattern caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'t, T> {
    /// What the owner keeps of it.
    pub route: &'t T,
    /// Whether it names the request's method, rather than answering any, or `HEAD` for `GET`.
    pub names_method: bool,
    /// Its params, decoded, in order.
    pub params: Vec<(String, String)>,
    /// What a prefix's star stands for, decoded, without the leading slash.
    pub rest: Option<String>,
}

impl<T> Table<T> {
    /// Takes routes in any order. Of two that [`conflict`](super::conflict), which should not be, the older id wins.
    pub fn build(routes: impl IntoIterator<Item = (RouteId, Pattern, T)>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by_key(|(id, ..)| *id);
        let mut hosts = HostMap::<Trie>::default();
        let mut entries = Vec::with_capacity(routes.len());
        for (index, (_, Pattern { host, path, method }, value)) in routes.into_iter().enumerate() {
            hosts.entry(host).insert(&path, &method, index);
            entries.push(Entry { path, method, value });
        }
        Self { routes: entries, hosts }
    }

    /// The route for a request: host normalised, method in upper case, path raw as it came, without its query.
    #[must_use]
    pub fn find(&self, host: &str, method: &str, path: &str) -> Find<'_, T> {
        if let Some(index) = self.hosts.matching(host).find_map(|trie| trie.find(path, method)) {
            let Entry { path: pattern, method: named, value } = &self.routes[index];
            let (params, rest) = catch(pattern, path);
            return Find::Found(Found { route: value, names_method: named.name() == Some(method), params, rest });
        }
        let allow = self.methods_for(host, path);
        if allow.is_empty() { Find::NotFound } else { Find::MethodNotAllowed { allow } }
    }

    /// What the routes that match host and path answer, all together.
    #[must_use]
    pub fn methods_for(&self, host: &str, path: &str) -> Allow {
        let mut allow = Allow::default();
        for trie in self.hosts.matching(host) {
            trie.allow(path, &mut allow);
        }
        allow
    }

    /// How many routes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// What a pattern that matches a path caught from it.
fn catch(pattern: &PathPattern, path: &str) -> (Vec<(String, String)>, Option<String>) {
    if pattern.kind() == PathKind::Exact {
        return (Vec::new(), None);
    }
    let mut params = Vec::new();
    let mut left = path.strip_prefix('/').unwrap_or(path);
    for segment in pattern.segments() {
        let (value, after) = left.split_once('/').unwrap_or((left, ""));
        if let Segment::Param(name) = segment {
            params.push((name.to_string(), decode(value).into_owned()));
        }
        left = after;
    }
    let rest = (pattern.kind() == PathKind::Prefix).then(|| decode(left).into_owned());
    (params, rest)
}
