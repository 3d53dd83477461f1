//! `picloud dead-letters bulk`: how many letters it is about, the question whether to go on, and then the job.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    args::{Global, InApp},
    jobs, path, print, prompt,
};
use crate::{client::Client, failure::Failure};

/// `picloud dead-letters bulk`.
#[derive(Clone, Debug, Subcommand)]
pub enum Bulk {
    /// Try them again
    #[command(after_help = "Examples:\n  \
        picloud dead-letters bulk replay --app shop --script charge\n  \
        picloud dead-letters bulk replay --app shop --fingerprint 'charge: payment refused' --yes --per-second 20")]
    Replay {
        /// Which letters
        #[command(flatten)]
        which: Which,
        /// How to go about it
        #[command(flatten)]
        how: How,
    },
    /// Close them
    Resolve {
        /// Which letters
        #[command(flatten)]
        which: Which,
        /// How to go about it
        #[command(flatten)]
        how: How,
        /// As what they are closed
        #[arg(long, value_enum, default_value_t, value_name = "RESOLUTION")]
        resolution: Resolution,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Which letters, of those that are open.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// Only of this script, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Only those that failed alike, as `ls --groups` shows it
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Only those that became letters for this reason
    #[arg(long, value_enum, value_name = "REASON")]
    dead_because: Option<Reason>,
    /// Only those whose handler failed
    #[arg(long)]
    handler_failed: bool,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// How to go about it.
#[derive(Clone, Debug, Args)]
pub struct How {
    /// Go on without asking
    #[arg(short, long)]
    yes: bool,
    /// At most so many letters a second [default: 200]
    #[arg(long, value_name = "COUNT")]
    per_second: Option<u32>,
    /// Do not wait for the job's end
    #[arg(long)]
    no_wait: bool,
}

/// How letters can be closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Resolution {
    /// Nothing needs to be done about them
    #[default]
    Ignored,
    /// A script has taken care of them
    HandledByScript,
}

/// Why work became a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Reason {
    /// No attempt was left
    AttemptsExhausted,
    /// The script said that no further attempt would help
    GaveUp,
    /// It lay too far from what began it
    DepthExceeded,
    /// There was nothing to run
    NothingToRun,
}

pub(super) async fn run(global: &Global, client: &Client, wanted: &Bulk) -> Result<(), Failure> {
    let (which, how, mut body, verb) = match wanted {
        Bulk::Replay { which, how } => (which, how, json!({ "action": "replay" }), "replay"),
        Bulk::Resolve { which, how, resolution, reason } => {
            let body = json!({ "action": "resolve", "resolution": name(*resolution), "reason": reason });
            (which, how, body, "resolve")
        }
    };
    body["filter"] = which.filter();
    if let Some(per_second) = how.per_second {
        body["per_second"] = per_second.into();
    }
    let to = path::admin(&["apps", &which.in_app.app, "dead_letters", "bulk"]);

    let mut dry = body.clone();
    dry["dry_run"] = true.into();
    let told: Value = client.send_json(Method::POST, &to, &dry).await?;
    let matching = told["matching"].as_u64().unwrap_or_default();
    if matching == 0 {
        print::outcome(global.output, &told, "No open letter matches: there is nothing to do.");
        return Ok(());
    }
    if !how.yes {
        agreed(matching, verb)?;
    }
    let job: Value = client.send_json(Method::POST, &to, &body).await?;
    if how.no_wait {
        let id = job["id"].as_str().unwrap_or_default();
        let look = jobs::look(id, &which.in_app.app);
        print::outcome(global.output, &job, &format!("{id} works on {} letters: {look}", job["total"]));
        return Ok(());
    }
    jobs::follow(global, client, &which.in_app.app, job).await
}

impl Which {
    fn filter(&self) -> Value {
        let mut filter = json!({ "unresolved": true });
        let reason = self.dead_because.map(name);
        let given = [("script", &self.script), ("fingerprint", &self.fingerprint), ("reason", &reason)];
        for (member, value) in given {
            if let Some(value) = value {
                filter[member] = value.as_str().into();
            }
        }
        if self.handler_failed {
            filter["resolution"] = "handler_failed".into();
        }
        filter
    }
}

/// As it is typed, and as the API has it.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Asks who sits at the terminal; a program has to say it beforehand.
fn agreed(matching: u64, verb: &str) -> Result<(), Failure> {
    let letters =
        if matching == 1 { "1 open letter matches".to_owned() } else { format!("{matching} open letters match") };
    if !prompt::is_possible() {
        return Err(Failure::usage(format!("{letters}; say with --yes that you want to {verb} them")));
    }
    if prompt::confirm(&format!("{letters}. {}{} them? [y/N] ", verb[..1].to_uppercase(), &verb[1..]))? {
        return Ok(());
    }
    Err(Failure::failed("nothing was done"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, args::DeadLetters};

    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(subcommand)]
        bulk: Bulk,
    }

    #[test]
    fn what_is_typed_is_the_filter_of_the_api() {
        let typed = ["x", "replay", "--script", "charge", "--dead-because", "gave_up", "--handler-failed"];
        let Bulk::Replay { which, how } = Typed::try_parse_from(typed).expect("understood").bulk else {
            panic!("another command")
        };
        let wanted =
            json!({ "unresolved": true, "script": "charge", "reason": "gave_up", "resolution": "handler_failed" });
        assert_eq!((which.filter(), how.yes), (wanted, false));
    }

    #[test]
    fn it_is_a_command_of_dead_letters() {
        let cli = Cli::try_parse_from(["picloud", "dead-letters", "bulk", "resolve", "--yes", "--reason", "by hand"]);
        let Command::DeadLetters(DeadLetters::Bulk(Bulk::Resolve { reason, resolution, .. })) =
            cli.expect("understood").command
        else {
            panic!("another command")
        };
        assert_eq!((reason.as_deref(), name(resolution).as_str()), (Some("by hand"), "ignored"));
    }

    #[test]
    fn a_program_that_does_not_say_yes_is_told_how_many_it_would_be() {
        // Tests have no terminal.
        let refused = agreed(312, "replay").expect_err("refused");
        assert!(refused.to_string().contains("312 open letters match; say with --yes"), "{refused}");
    }
}
