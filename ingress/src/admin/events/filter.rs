//! Which events are wanted, as the query says it.

use chrono::{DateTime, Utc};
use picloud_core::{event::Event, id::AppId, log::read::Filter};
use serde::Deserialize;
use utoipa::ToSchema;

use super::chain::Chain;
use crate::{
    admin::{access::short, names, span::Span},
    problem::{Kind, Problem},
};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct ListParams {
    /// `kv.set`, or a noun for all its kinds; several with commas.
    kind: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
    /// Only of this chain: its first run, or the item or the request that it began with.
    #[schema(value_type = Option<String>)]
    root: Option<Chain>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Option<String>,
    before: Option<String>,
    /// What a page gave: `after` or `before`, whichever way the list goes.
    cursor: Option<String>,
    order: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct StreamParams {
    kind: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
    /// Only of this chain: its first run, or the item or the request that it began with.
    #[schema(value_type = Option<String>)]
    root: Option<Chain>,
    pub(super) after: Option<String>,
}

impl ListParams {
    pub(super) fn filter(&self, app: Option<AppId>) -> Result<Filter, Problem> {
        Ok(Filter {
            app: app.map(Some),
            kinds: kinds(self.kind.as_deref())?,
            subject: text("subject", self.subject.as_deref())?,
            actor: text("actor", self.actor.as_deref())?,
            root: self.root.map(|Chain(root)| root.uuid()),
            since: self.since,
            until: self.until,
            ..Filter::default()
        })
    }

    pub(super) fn span(&self) -> Span<'_> {
        Span {
            after: self.after.as_deref(),
            before: self.before.as_deref(),
            cursor: self.cursor.as_deref(),
            order: self.order.as_deref(),
            since: self.since,
            until: self.until,
            limit: self.limit,
        }
    }
}

impl StreamParams {
    pub(super) fn filter(&self, app: Option<AppId>) -> Result<Filter, Problem> {
        Ok(Filter {
            app: app.map(Some),
            kinds: kinds(self.kind.as_deref())?,
            subject: text("subject", self.subject.as_deref())?,
            actor: text("actor", self.actor.as_deref())?,
            root: self.root.map(|Chain(root)| root.uuid()),
            ..Filter::default()
        })
    }
}

/// A text that the database can be asked for.
fn text(field: &'static str, text: Option<&str>) -> Result<Option<String>, Problem> {
    let check = |text: &str| names::text(field, text, usize::MAX).map(|()| text.to_owned());
    text.map(check).transpose()
}

/// Kinds or nouns; one that there is not would silently find nothing.
fn kinds(text: Option<&str>) -> Result<Vec<String>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let known = || Event::KINDS.iter().flat_map(|(kind, _)| [*kind, kind.split('.').next().unwrap_or_default()]);
    let check = |kind: &str| {
        if known().any(|known| known == kind) {
            return Ok(kind.to_owned());
        }
        let hint = picloud_core::nearest::nearest(kind, known())
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let detail = format!("`{}` is not a kind of event{hint}", short(kind).escape_debug());
        Err(Problem::new(Kind::InvalidInput, detail).field("kind"))
    };
    text.split(',').map(|kind| check(kind.trim())).collect()
}
