//! A chain as it is asked for.

use picloud_core::id::{InvocationId, OutboxId, RequestId};
use serde::Deserialize;

/// A chain, by its first run, by the item that it began with, or by the request of either, which bear one ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Chain(pub InvocationId);

impl TryFrom<String> for Chain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let run = text.parse::<InvocationId>();
        let item = || text.parse::<OutboxId>().map(|item| item.ulid().into());
        let request = || text.parse::<RequestId>().map(|request| request.ulid().into());
        run.or_else(|_| item()).or_else(|_| request()).map(Self).map_err(|invalid| {
            format!("`{}` is no name of a chain: expected `inv_`, `out_` or `req_` followed by a ULID", invalid.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_began_a_chain_names_it() {
        let run = InvocationId::generate();
        for prefix in ["inv_", "out_", "req_"] {
            assert_eq!(Chain::try_from(run.to_string().replace("inv_", prefix)), Ok(Chain(run)), "{prefix}");
        }
        let refused = Chain::try_from("app_01J".to_owned()).expect_err("no chain");
        assert_eq!(refused, "`app_01J` is no name of a chain: expected `inv_`, `out_` or `req_` followed by a ULID");
    }
}
