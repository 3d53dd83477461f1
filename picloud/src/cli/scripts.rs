//! `picloud scripts`: what there is, and what runs.

use clap::Subcommand;
use serde_json::Value;

use super::{
    Output,
    args::{AsOf, Global, InApp},
    path, print,
};
use crate::failure::Failure;

/// `picloud scripts`.
#[derive(Clone, Debug, Subcommand)]
pub enum Scripts {
    /// Show all scripts, each with the version that runs
    Ls(InApp),
    /// Show one with the source that runs
    #[command(after_help = "Example:\n  picloud scripts show checkout --app shop --at 2026-03-01T02:00:00Z")]
    Show {
        /// By name or id
        script: String,
        /// As of when
        #[command(flatten)]
        as_of: AsOf,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

pub(super) async fn run(global: &Global, command: &Scripts) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Scripts::Ls(in_app) => {
            let mut scripts = client.list(&path::admin(&["apps", &in_app.app, "scripts"])).await?;
            if global.output == Output::Table {
                for script in &mut scripts {
                    script["active"] = script["active"]["number"].clone();
                }
            }
            print::rows(global.output, &scripts, &["name", "kind", "active", "paused", "created_at", "id"]);
        }
        Scripts::Show { script, as_of, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "scripts", script]);
            show(global.output, client.get(&as_of.of(&to)).await?);
        }
    }
    Ok(())
}

fn show(output: Output, mut script: Value) {
    if output == Output::Json {
        print::object(&script);
        return;
    }
    let active = script["active"].take();
    let source = active["source"].as_str().map(print::plain);
    script["active"] = match active["number"].as_u64() {
        Some(number) => format!("version {number} ({})", active["version"].as_str().unwrap_or_default()).into(),
        None => "none yet: activate a version".into(),
    };
    print::thing(output, &script);
    if let Some(source) = source {
        print::text(&format!("\n{}\n", source.trim_end()));
    }
}
