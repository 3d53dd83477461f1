//! `picloud replay`: what follows from the log, made of it again.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::HumanCount;
use picloud_projections::views::rebuild::{Compared, Difference, Progress, Rebuilt, rebuild};
use serde_json::{Value, json};

use super::{
    Output,
    args::Global,
    print::{self, BAD, CAREFUL, GOOD, QUIET},
    progress,
};
use crate::{config, direct::Direct, failure::Failure};

/// So much of a row fits a line.
const ROW_CHARS: usize = 160;

/// `picloud replay`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It works on the database itself, while the service runs or not: run it where the service's configuration is.\n\
                        Views are what lists, searches and figures are read from.\n\nExamples:\n  \
                        picloud replay                          compare all views with what the log says\n  \
                        picloud replay --view metrics --swap    put a new one in the place of one that is broken"
)]
pub struct Replay {
    /// Only this view; may be given more than once
    #[arg(long, value_name = "VIEW")]
    view: Vec<String>,
    /// Put what was built in the place of what is read from
    #[arg(long)]
    swap: bool,
}

pub(super) async fn run(global: &Global, arguments: &Replay) -> Result<(), Failure> {
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let direct = Direct::open(&config).await?;
    let bar = progress::bar("events");
    let rebuilt = rebuild(&direct.pool, &arguments.view, arguments.swap, |Progress { position, head }| {
        bar.set_length(u64::try_from(head.0).unwrap_or(0));
        bar.set_position(u64::try_from(position.0).unwrap_or(0));
    })
    .await;
    bar.finish_and_clear();
    direct.close().await?;
    let rebuilt = rebuilt.map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    match global.output {
        Output::Json => print::list(&rebuilt.iter().map(object).collect::<Vec<_>>()),
        Output::Table => rebuilt.iter().for_each(|one| print::text(&told(one))),
    }
    let is_wrong = |one: &&Rebuilt| !one.is_swapped && !matches!(one.compared, Compared::Same { .. });
    let wrong: Vec<&str> = rebuilt.iter().filter(is_wrong).map(|one| one.view).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("not as the log says: {}", wrong.join(", ")))
        .next(format!("picloud replay --swap --view {}", wrong.join(" --view "))))
}

fn told(one: &Rebuilt) -> String {
    let view = one.view;
    let count = |count: u64| HumanCount(count).to_string().replace(',', " ");
    let mut text = match &one.compared {
        Compared::Same { rows } => format!("{GOOD}✓{GOOD:#} {view:12} {} rows, the same", count(*rows)),
        Compared::Different { only_live, only_built, .. } => format!(
            "{BAD}✗{BAD:#} {view:12} {} rows that do not follow from the log, {} that do and were not there",
            count(*only_live),
            count(*only_built)
        ),
        Compared::Not { reason } => format!("{CAREFUL}!{CAREFUL:#} {view:12} not compared: {reason}"),
    };
    text += if one.is_swapped { "; replaced\n" } else { "\n" };
    if let Compared::Different { examples, .. } = &one.compared {
        for Difference { table, is_live, row } in examples {
            let sign = if *is_live { '-' } else { '+' };
            text += &format!("{QUIET}    {sign} {table} {}{QUIET:#}\n", print::short(row, ROW_CHARS));
        }
    }
    text
}

fn object(one: &Rebuilt) -> Value {
    let mut object = match &one.compared {
        Compared::Same { rows } => json!({ "compared": "same", "rows": rows }),
        Compared::Different { only_live, only_built, examples } => {
            let shown = |Difference { table, is_live, row }: &Difference| json!({ "table": table, "is_live": is_live, "row": row });
            let examples: Vec<Value> = examples.iter().map(shown).collect();
            json!({ "compared": "different", "only_live": only_live, "only_built": only_built, "examples": examples })
        }
        Compared::Not { reason } => json!({ "compared": "not", "reason": reason }),
    };
    object["view"] = one.view.into();
    object["is_swapped"] = one.is_swapped.into();
    object
}
