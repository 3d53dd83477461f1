//! Lists as pages: `{items, cursor}`, where a cursor asks for what comes after.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::access::short;
use crate::problem::{Kind, Problem};

/// How many items a page has when nobody says.
pub(super) const DEFAULT: usize = 100;

/// How many it has at most.
pub(super) const MAX: usize = 1_000;

/// A part of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    /// In order.
    pub(super) items: Vec<T>,
    /// Where the next page begins; none when this is the last.
    pub(super) cursor: Option<String>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Where the next page begins; null when this is the last."));
        ObjectBuilder::new()
            .property("items", items)
            .property("cursor", cursor)
            .required("items")
            .required("cursor")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// How many there are of what is asked for.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Count {
    pub(super) count: usize,
    /// Whether there are no more than that: what is not counted as it happens is counted only so far.
    pub(super) is_exact: bool,
}

/// Which page is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// How many items the page has at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<usize>,
    /// What the page before gave.
    pub(super) cursor: Option<String>,
}

/// How many items are wanted.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted {
        None => Ok(DEFAULT),
        Some(limit) if (1..=MAX).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::new(Kind::InvalidInput, format!("limit is {limit}: allowed is 1 to {MAX}")).field("limit"))
        }
    }
}

impl Wanted {
    /// The page out of a list that lies in memory. `key` tells items apart and orders them.
    pub(super) fn of<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Problem> {
        let limit = limit(self.limit)?;
        let after = self.cursor.as_deref().map(after).transpose()?;
        let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
        keyed.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        keyed.sort_by(|(one, _), (two, _)| one.cmp(two));
        let has_more = keyed.len() > limit;
        keyed.truncate(limit);
        let cursor = keyed.last().filter(|_| has_more).map(|(key, _)| cursor(key));
        Ok(Page { items: keyed.into_iter().map(|(_, item)| item).collect(), cursor })
    }
}

/// A cursor of a list that is ordered by a name: it says nothing that the list does not.
pub(super) fn cursor(last: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last)
}

/// The name after which a page begins.
pub(super) fn after(cursor: &str) -> Result<String, Problem> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.filter(|text| !text.contains('\0')).ok_or_else(|| {
        let detail = format!("`{}` is not a cursor of this list: begin anew without one", short(cursor));
        Problem::new(Kind::InvalidInput, detail).field("cursor")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let all: Vec<u32> = (0..25).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let wanted = Wanted { limit: Some(10), cursor };
            let page = wanted.of(all.clone(), |n| format!("{n:03}")).expect("a page");
            seen.extend(page.items);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }
}
