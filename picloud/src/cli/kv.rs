//! `picloud kv`: stored values, to be looked at.

use clap::Subcommand;
use serde_json::Value;

use super::{
    args::{AsOf, Global, InApp},
    path, print,
};
use crate::failure::Failure;

/// `picloud kv`.
#[derive(Clone, Debug, Subcommand)]
pub enum Kv {
    /// Show the collections, or the entries of one
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  picloud kv ls carts --prefix a/ --app shop --at 2026-03-01T02:00:00Z"
    )]
    Ls {
        /// Such as carts
        collection: Option<String>,
        /// Only keys that begin so
        #[arg(long, value_name = "TEXT", requires = "collection")]
        prefix: Option<String>,
        /// As it was then: a time such as 2026-03-01T02:00:00Z, right after an event (evt_…), or at a cursor
        #[arg(long, value_name = "MOMENT", requires = "collection")]
        at: Option<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Show one entry
    #[command(after_help = "Example:\n  picloud kv get carts 42 --app shop --at 2026-03-01T02:00:00Z")]
    Get {
        /// Such as carts
        collection: String,
        /// The key
        key: String,
        /// As of when
        #[command(flatten)]
        as_of: AsOf,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

pub(super) async fn run(global: &Global, command: &Kv) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Kv::Ls { collection: None, in_app, .. } => {
            let collections = client.list(&path::admin(&["apps", &in_app.app, "kv"])).await?;
            print::rows(global.output, &collections, &["name"]);
        }
        Kv::Ls { collection: Some(collection), prefix, at, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "kv", collection]);
            let entries =
                client.list(&path::asking(&to, &[("prefix", prefix.as_deref()), ("at", at.as_deref())])).await?;
            print::rows(global.output, &entries, &["key", "value", "expires_at"]);
        }
        Kv::Get { collection, key, as_of, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "kv", collection, key]);
            let entry: Value = client.get(&as_of.of(&to)).await?;
            print::thing(global.output, &entry);
        }
    }
    Ok(())
}
