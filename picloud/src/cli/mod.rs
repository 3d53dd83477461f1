//! The command line: what can be typed, and what becomes of it.
//!
//! A file a command. Each returns a [`Failure`] or nothing; this module alone decides how a failure is told and what
//! the shell gets. Results go to stdout, everything else to stderr.

mod account;
mod alerts;
mod app;
mod args;
mod backtest;
mod backup;
mod bulk;
mod completions;
mod dead_letters;
mod deploy;
mod dev;
mod doctor;
mod env;
mod events;
mod export;
mod figures;
mod follow;
mod history;
mod http_exceptions;
mod invocations;
mod invoke;
mod jobs;
mod json_text;
mod key;
mod kv;
mod login;
mod logs;
mod master_key;
mod member;
mod path;
mod print;
mod progress;
mod prompt;
mod queues;
mod replay;
mod restore;
mod routes;
mod scripts;
mod searched;
mod serve;
mod topics;
mod tree;
mod triggers;
mod verify;

use std::{collections::BTreeMap, ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{
    client::Client,
    config::{self, Sources, setting},
    failure::{Exit, Failure},
    profile::{Key, Places, Target, Wanted},
};

pub use args::{Cli, Command, Global, Output};

/// Runs what was typed.
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, &typed),
    };
    let output = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::failure(&failure, output);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(arguments) => serve::run(&global, &arguments),
        Command::Completions { shell } => completions::run(shell),
        Command::Doctor => wait_for(doctor::run(&global)),
        Command::Deploy(arguments) => wait_for(deploy::run(&global, &arguments)),
        Command::Dev(arguments) => wait_for(dev::run(&global, &arguments)),
        Command::Invoke(arguments) => wait_for(invoke::run(&global, &arguments)),
        Command::Logs(arguments) => wait_for(logs::run(&global, &arguments)),
        Command::Invocations(command) => wait_for(invocations::run(&global, &command)),
        Command::Backtest(arguments) => wait_for(backtest::run(&global, &arguments)),
        Command::Backup(arguments) => wait_for(backup::run(&global, &arguments)),
        Command::Restore(arguments) => wait_for(restore::run(&global, &arguments)),
        Command::Replay(arguments) => wait_for(replay::run(&global, &arguments)),
        Command::Verify(arguments) => wait_for(verify::run(&global, &arguments)),
        Command::Seals(command) => wait_for(verify::seals(&global, &command)),
        Command::Errors(arguments) => wait_for(figures::errors(&global, &arguments)),
        Command::Metrics(arguments) => wait_for(figures::metrics(&global, &arguments)),
        Command::Events(arguments) => wait_for(events::run(&global, &arguments)),
        Command::History(arguments) => wait_for(history::run(&global, &arguments)),
        Command::Scripts(command) => wait_for(scripts::run(&global, &command)),
        Command::Kv(command) => wait_for(kv::run(&global, &command)),
        Command::Routes(wanted) => wait_for(routes::run(&global, &wanted)),
        Command::Triggers(command) => wait_for(triggers::run(&global, &command)),
        Command::Queues(command) => wait_for(queues::run(&global, &command)),
        Command::Topics(command) => wait_for(topics::run(&global, &command)),
        Command::DeadLetters(command) => wait_for(dead_letters::run(&global, &command)),
        Command::Alerts(command) => wait_for(alerts::run(&global, &command)),
        Command::Outbox(command) => wait_for(dead_letters::outbox(&global, &command)),
        Command::Jobs(command) => wait_for(jobs::run(&global, &command)),
        Command::Env(command) => wait_for(env::run(&global, &command)),
        Command::App(command) => wait_for(app::run(&global, &command)),
        Command::Login(arguments) => wait_for(login::run(&global, &arguments)),
        Command::Logout => wait_for(login::logout(&global)),
        Command::Whoami => wait_for(login::whoami(&global)),
        Command::Member(command) => wait_for(member::run(&global, &command)),
        Command::Account(command) => wait_for(account::run(&global, &command)),
        Command::Key(command) => wait_for(key::run(&global, &command)),
        Command::MasterKey(command) => wait_for(master_key::run(&global, command)),
    }
}

/// Commands wait for one server; one thread is enough for that.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start: {error}")))?;
    runtime.block_on(command)
}

/// Help and version are what was asked for; all else is wrong usage.
fn not_understood(error: &clap::Error, typed: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is the reader's choice.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if wants_json(typed) {
        let text = error.render().to_string();
        let sentence = text.trim().trim_start_matches("error: ").lines().next().unwrap_or_default();
        print::failure(&Failure::usage(sentence), Output::Json);
    } else {
        let _ = error.print();
    }
    Exit::Usage.into()
}

/// What could not be parsed can still say how it wants to be told.
fn wants_json(typed: &[OsString]) -> bool {
    typed.iter().any(|argument| argument == "--output=json")
        || typed.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

impl Global {
    /// What was said about settings, beside a command's own flags.
    fn sources(&self, mut flags: BTreeMap<&'static str, String>) -> Result<Sources, Failure> {
        if let Some(dir) = &self.data_dir {
            flags.insert(setting::DATA_DIR.key, dir.to_string_lossy().into_owned());
        }
        // A variable that is no text cannot be one of ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Sources::gather(flags, variables, self.config.as_deref())?)
    }

    /// Whether it was said which server to ask, rather than found.
    fn names_a_server(&self) -> bool {
        let is_set = |name| variable(name).is_some();
        self.url.is_some() || self.profile.is_some() || is_set("PICLOUD_URL") || is_set("PICLOUD_PROFILE")
    }

    /// Which server a command asks.
    fn target(&self) -> Result<Target, Failure> {
        let wanted = Wanted {
            url: self.url.clone().or_else(|| variable("PICLOUD_URL")),
            key: variable("PICLOUD_KEY").map(Key::new),
        };
        Target::find(wanted, &self.places()?)
    }

    /// Where profiles lie, the one that counts first.
    fn places(&self) -> Result<Places, Failure> {
        let named = self.profile.clone().or_else(|| variable("PICLOUD_PROFILE"));
        let data_dir = config::data_dir(&self.sources(BTreeMap::new())?)?;
        Places::new(named.as_deref(), data_dir)
    }

    /// A client for it.
    fn client(&self) -> Result<Client, Failure> {
        Client::new(self.target()?)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The command line as clap sees it, for completions.
fn command() -> clap::Command {
    Cli::command()
}
