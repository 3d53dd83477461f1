//! `picloud replay`: what follows from the log, made of it again.

mod state;
mod views;

use std::collections::BTreeMap;

use clap::Args;
use indicatif::{HumanCount, ProgressBar};
use picloud_projections::{
    state::rebuild as rebuild_state,
    views::rebuild::{Progress, rebuild as rebuild_views},
};
use serde_json::Value;

use super::{Output, args::Global, print, progress};
use crate::{config, direct::Direct, failure::Failure};

/// So much of a row fits a line.
const ROW_CHARS: usize = 160;

/// `picloud replay`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It works on the database itself, while the service runs or not: run it where the service's configuration is.\n\
                        State is what scripts and requests read; views are what lists, searches and figures are read from.\n\nExamples:\n  \
                        picloud replay                          compare state and all views with what the log says\n  \
                        picloud replay --state --swap           put right whatever is otherwise in state\n  \
                        picloud replay --view metrics --swap    put a new one in the place of one that is broken"
)]
pub struct Replay {
    /// Only state
    #[arg(long, conflicts_with = "table")]
    state: bool,
    /// Only this table of state; may be given more than once
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Only views
    #[arg(long, conflicts_with = "view")]
    views: bool,
    /// Only this view; may be given more than once
    #[arg(long, value_name = "VIEW")]
    view: Vec<String>,
    /// Put what was built in the place of what is read from
    #[arg(long)]
    swap: bool,
}

impl Replay {
    const fn is_about_all(&self) -> bool {
        !self.state && !self.views && self.table.is_empty() && self.view.is_empty()
    }

    const fn is_about_state(&self) -> bool {
        self.is_about_all() || self.state || !self.table.is_empty()
    }

    const fn is_about_views(&self) -> bool {
        self.is_about_all() || self.views || !self.view.is_empty()
    }
}

/// A table or a view, for people, for programs, and what to ask for to put it right when it is not as the log says.
struct Told {
    text: String,
    object: Value,
    wrong: Option<(String, String)>,
}

pub(super) async fn run(global: &Global, arguments: &Replay) -> Result<(), Failure> {
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let direct = Direct::open(&config).await?;
    let mut told = Vec::new();
    let state = if arguments.is_about_state() { replay_state(&direct, arguments, &mut told).await } else { Ok(()) };
    // Views are replayed also where state cannot be.
    let views = if arguments.is_about_views() { replay_views(&direct, arguments, &mut told).await } else { Ok(()) };
    direct.close().await?;
    match global.output {
        Output::Json => print::list(&told.iter().map(|one| &one.object).collect::<Vec<_>>()),
        Output::Table => told.iter().for_each(|one| print::text(&one.text)),
    }
    state.and(views).map_err(Failure::from)?;
    let wrong: Vec<(String, String)> = told.into_iter().filter_map(|one| one.wrong).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let (names, options): (Vec<String>, Vec<String>) = wrong.into_iter().unzip();
    Err(Failure::failed(format!("not as the log says: {}", names.join(", ")))
        .next(format!("picloud replay --swap {}", options.join(" "))))
}

async fn replay_state(direct: &Direct, arguments: &Replay, told: &mut Vec<Told>) -> anyhow::Result<()> {
    let bar = progress::bar("events into state");
    let rebuilt = rebuild_state(&direct.pool, &arguments.table, arguments.swap, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    told.extend(rebuilt?.iter().map(state::told));
    Ok(())
}

async fn replay_views(direct: &Direct, arguments: &Replay, told: &mut Vec<Told>) -> anyhow::Result<()> {
    let bar = progress::bar("events into views");
    let rebuilt = rebuild_views(&direct.pool, &arguments.view, arguments.swap, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    told.extend(rebuilt?.iter().map(views::told));
    Ok(())
}

fn show(bar: &ProgressBar, Progress { position, head }: Progress) {
    bar.set_length(u64::try_from(head.0).unwrap_or(0));
    bar.set_position(u64::try_from(position.0).unwrap_or(0));
}

fn count(count: u64) -> String {
    HumanCount(count).to_string().replace(',', " ")
}
