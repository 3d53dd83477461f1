//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::path;
pub use super::{
    alerts::Alerts,
    backtest::Backtest,
    backup::Backup,
    dead_letters::{DeadLetters, Outbox},
    figures::{Errors, Metrics},
    history::History,
    invocations::Invocations,
    jobs::Jobs,
    kv::Kv,
    queues::Queues,
    replay::Replay,
    restore::Restore,
    scripts::Scripts,
    searched::GoOn,
    serve::Serve,
    topics::Topics,
    triggers::Triggers,
    verify::{Seals, Verify},
};
use crate::manifest::RoutePattern;

/// Self-hosted, event-sourced serverless: upload a Rhai script, get an HTTP endpoint.
#[derive(Debug, Parser)]
#[command(name = "picloud", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Start with `picloud serve`, then `picloud deploy greet.rhai` in the same folder.")]
pub struct Cli {
    /// Of every command.
    #[command(flatten)]
    pub global: Global,
    /// Which one.
    #[command(subcommand)]
    pub command: Command,
}

/// Of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// How results and problems are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// Database, files, keys and the local profile [env: PICLOUD_DATA_DIR] [default: ./.picloud, root: /var/lib/picloud]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Settings [env: PICLOUD_CONFIG] [default: ./picloud-server.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The control plane that commands talk to [env: PICLOUD_URL; its key: PICLOUD_KEY] [default: the local profile's]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Who to be: a profile that `picloud login` wrote [env: PICLOUD_PROFILE] [default: the data directory's, else `default`]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs: an object, or one a line
    Json,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Serve(Box<Serve>),
    /// Sign in to a server, and remember it
    Login(Login),
    /// Sign out, and forget it
    Logout,
    /// Who commands are run as, and what that may do
    Whoami,
    /// Deploy a script, or an app that a picloud.toml declares
    Deploy(Deploy),
    /// Watch a folder, and deploy what changes
    Dev(Dev),
    /// Run a script and show what it answers
    Invoke(Invoke),
    /// What scripts log, and how they fail, newest last
    Logs(Logs),
    /// Runs of scripts: what ran, and one run in full
    #[command(subcommand, visible_alias = "inv")]
    Invocations(Invocations),
    /// Run a script's last runs again with another version, and count what would be otherwise
    Backtest(Backtest),
    /// How runs fail, those together that are alike, latest first
    Errors(Errors),
    /// How many runs there are, how they end, how long they take, and what is owed
    Metrics(Metrics),
    /// What happened, newest last
    Events(Events),
    /// Who changed a thing, when, and from what to what, newest last
    History(History),
    /// Scripts: what there is, and what runs
    #[command(subcommand)]
    Scripts(Scripts),
    /// Stored values
    #[command(subcommand)]
    Kv(Kv),
    /// Which requests run which scripts
    Routes(InAppAsOf),
    /// Which events run which scripts
    #[command(subcommand)]
    Triggers(Triggers),
    /// Messages that wait for scripts to take them
    #[command(subcommand)]
    Queues(Queues),
    /// Who may listen to what is published
    #[command(subcommand)]
    Topics(Topics),
    /// Work that could not be done: look at it, try it again, or close it
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Work that waits to be done
    #[command(subcommand)]
    Outbox(Outbox),
    /// Work on many things at once: follow it, or end it
    #[command(subcommand)]
    Jobs(Jobs),
    /// An app's configuration values, `ctx.env`
    #[command(subcommand)]
    Env(Env),
    /// Apps
    #[command(subcommand)]
    App(App),
    /// Who has a role on an app
    #[command(subcommand)]
    Member(Member),
    /// Accounts of people
    #[command(subcommand)]
    Account(Account),
    /// API keys, for programs
    #[command(subcommand)]
    Key(Key),
    /// The key that all other keys are encrypted with
    #[command(subcommand)]
    MasterKey(MasterKey),
    /// Who is told when something is wrong with the instance
    #[command(subcommand)]
    Alerts(Alerts),
    /// Write the whole instance to a file, as of one moment
    Backup(Backup),
    /// Make an instance of a backup
    Restore(Restore),
    /// Make what lists are read from anew from the log, and compare
    Replay(Replay),
    /// Prove that the log is as it was written
    Verify(Verify),
    /// What proves the log: anchors, and proofs of single events
    #[command(subcommand)]
    Seals(Seals),
    /// Check this machine, and the server that commands would talk to
    Doctor,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Which app.
#[derive(Clone, Debug, Args)]
pub struct InApp {
    /// The app, by slug or id
    #[arg(long, default_value = "default", value_name = "APP")]
    pub app: String,
}

/// As of when.
#[derive(Clone, Debug, Args)]
pub struct AsOf {
    /// As it was then: a time such as 2026-03-01T02:00:00Z, right after an event (evt_…), or at a cursor
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<String>,
}

impl AsOf {
    /// What is at a path, then.
    pub(super) fn of(&self, to: &str) -> String {
        path::asking(to, &[("at", self.at.as_deref())])
    }
}

/// Which app, and as of when.
#[derive(Clone, Debug, Args)]
pub struct InAppAsOf {
    /// As of when
    #[command(flatten)]
    pub as_of: AsOf,
    /// Which app
    #[command(flatten)]
    pub in_app: InApp,
}

/// `picloud deploy`.
#[derive(Clone, Debug, Args)]
pub struct Deploy {
    /// A .rhai file, a picloud.toml, or a folder with either
    #[arg(default_value = ".", value_name = "PATH")]
    pub path: PathBuf,
    /// Another app than picloud.toml's, or than `default`
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// What leads to a bare script, such as 'GET /hello'; may be repeated [default: those it has, else 'ANY /NAME']
    #[arg(long = "route", value_name = "ROUTE")]
    pub routes: Vec<RoutePattern>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// What to remember about the new versions
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// `picloud dev`.
#[derive(Clone, Debug, Args)]
pub struct Dev {
    /// A folder, a picloud.toml or a .rhai file
    #[arg(default_value = ".", value_name = "PATH")]
    pub path: PathBuf,
    /// Another app than picloud.toml's, or than `default`
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
}

/// `picloud invoke`.
#[derive(Clone, Debug, Args)]
pub struct Invoke {
    /// The script, by name or id
    pub script: String,
    /// Which app
    #[command(flatten)]
    pub in_app: InApp,
    /// The body, as it is or (@file) from a file, `@-` from stdin
    #[arg(short, long, value_name = "TEXT")]
    pub data: Option<String>,
    /// The request's method [default: POST with a body, GET without]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// The request's path, with its query
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// A header, such as 'accept: text/html'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
}

/// `picloud logs`.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// Which app
    #[command(flatten)]
    pub in_app: InApp,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only this script's, by name or id
    #[arg(long, value_name = "SCRIPT")]
    pub script: Option<String>,
    /// Only so loud, or louder; a failure is an error
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Only this run's
    #[arg(long, value_name = "INVOCATION")]
    pub invocation: Option<String>,
    /// How many that have been [default: 100, with --follow 10]
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub lines: Option<usize>,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// `log::trace`
    Trace,
    /// `log::debug`
    Debug,
    /// `log::info`
    Info,
    /// `log::warn`
    Warn,
    /// `log::error`, and failures
    Error,
}

/// `picloud events`.
#[derive(Clone, Debug, Args)]
pub struct Events {
    /// Only this app's [default: the whole instance's]
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this kind, such as script.deployed
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only about this, such as kv:carts/42
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only by this account, key or trigger
    #[arg(long, value_name = "ID")]
    pub actor: Option<String>,
    /// Only of one chain: the run, the item or the request that it began with
    #[arg(long, value_name = "ID")]
    pub root: Option<String>,
    /// From then on
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Write all to a file, a line each; one that is there is gone on with where it ends
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "cursor"])]
    pub to: Option<PathBuf>,
    /// Where to go on
    #[command(flatten)]
    pub go_on: GoOn,
}

/// `picloud env`.
#[derive(Clone, Debug, Subcommand)]
pub enum Env {
    /// Show all values
    Ls(InApp),
    /// Set values
    Set {
        /// NAME=VALUE, one or more
        #[arg(required = true, value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Take values away
    Unset {
        /// Names, one or more
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

/// `picloud app`.
#[derive(Clone, Debug, Subcommand)]
pub enum App {
    /// Show all apps
    Ls,
    /// Make one
    Create {
        /// Its name in URLs
        slug: String,
    },
    /// Show one
    Show {
        /// By slug or id
        app: String,
    },
    /// Give one another name; the old one leads to it from then on
    Rename {
        /// By slug or id
        app: String,
        /// Its new name in URLs
        slug: String,
    },
    /// What its scripts may call with `http::` besides the public internet
    #[command(subcommand)]
    Http(Http),
    /// Let its scripts run no more: calls get 503
    Pause {
        /// By slug or id
        app: String,
    },
    /// Let its scripts run again
    Resume {
        /// By slug or id
        app: String,
    },
    /// Delete one, with all that belongs to it
    #[command(after_help = "Asks for the app's name, unless --confirm has it.")]
    Delete {
        /// By slug or id
        app: String,
        /// The app's slug, instead of being asked for it
        #[arg(long, value_name = "SLUG")]
        confirm: Option<String>,
        /// Erase its data key, too: what was recorded of it can then be read by nobody, in no backup of the log either
        #[arg(long)]
        purge: bool,
    },
}

/// `picloud login`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  picloud login https://admin.example.com\n  \
                        picloud login https://admin.example.com --key < key.txt\n  \
                        picloud --profile work login https://admin.example.com")]
pub struct Login {
    /// The control plane [default: the one commands talk to now]
    #[arg(value_name = "URL")]
    pub server: Option<String>,
    /// What you sign in with; asked for if it is not given
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Remember an API key (typed, or from stdin) instead of signing in with a password
    #[arg(long)]
    pub key: bool,
}

/// `picloud app http`.
#[derive(Clone, Debug, Subcommand)]
pub enum Http {
    /// Show it
    Ls {
        /// By slug or id
        app: String,
    },
    /// Let them call a host or a network; never the platform itself
    #[command(after_help = "Examples:\n  picloud app http allow shop nas.lan:5000\n  \
                            picloud app http allow shop 192.168.0.0/24\n\n\
                            A host is meant as URLs name it; a network is meant by its addresses, whatever name leads there.")]
    Allow {
        /// By slug or id
        app: String,
        /// A host or a network, maybe with a port
        target: String,
    },
    /// Let them call it no more
    Rm {
        /// By slug or id
        app: String,
        /// As it is listed
        target: String,
    },
}

/// `picloud member`.
#[derive(Clone, Debug, Subcommand)]
pub enum Member {
    /// Show an app's members
    Ls(InApp),
    /// Make an account a member, or give it another role
    #[command(after_help = "Example:\n  picloud member add ada@example.com editor --app shop")]
    Add {
        /// By address or id
        account: String,
        /// `viewer`, `editor` or `app_admin`
        role: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Take a membership away
    Rm {
        /// By address or id
        account: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

/// `picloud account`.
#[derive(Clone, Debug, Subcommand)]
pub enum Account {
    /// Show all accounts
    Ls,
    /// Show one
    Show {
        /// By address or id
        account: String,
    },
    /// Make one with a password, which is asked for or read from stdin
    #[command(after_help = "Examples:\n  picloud account create ada@example.com --role owner\n  \
                            picloud account create ci@example.com < password.txt")]
    Create {
        /// What its holder signs in with
        email: String,
        /// What others see (without it: the address up to the at sign)
        #[arg(long)]
        name: Option<String>,
        /// `owner`, `admin` or `member`
        #[arg(long, default_value = "member")]
        role: String,
    },
    /// Make one whose holder sets a password at a link, good for a week
    #[command(
        after_help = "Example:\n  picloud account invite bob@example.com && picloud member add bob@example.com viewer"
    )]
    Invite {
        /// What its holder signs in with
        email: String,
        /// What others see (without it: the address up to the at sign)
        #[arg(long)]
        name: Option<String>,
        /// `owner`, `admin` or `member`
        #[arg(long, default_value = "member")]
        role: String,
    },
    /// Give one another role on the instance
    Role {
        /// By address or id
        account: String,
        /// `owner`, `admin` or `member`
        role: String,
    },
    /// End its sessions and its keys, at once
    Deactivate {
        /// By address or id
        account: String,
    },
    /// Let its holder in again
    Reactivate {
        /// By address or id
        account: String,
    },
    /// A link at which its holder can set another password, good for half an hour
    ResetPassword {
        /// By address or id
        account: String,
    },
    /// Change your own password; your other sessions end
    Password,
    /// Your own second factor
    #[command(subcommand)]
    Totp(Totp),
    /// Your own sessions
    Sessions,
}

/// `picloud account totp`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Totp {
    /// Ask for a code of an authenticator at every sign-in from now on
    Enable,
    /// Ask for the password alone again
    Disable,
}

/// `picloud key`.
#[derive(Clone, Debug, Subcommand)]
pub enum Key {
    /// Show your keys, or all if you manage them
    Ls,
    /// Make one; it is shown once
    #[command(
        after_help = "Example:\n  picloud key create ci --app shop --scope AppRead --scope AppWriteScript --expires 90d"
    )]
    Create {
        /// What to call it
        name: String,
        /// What it may do at most; may be repeated
        #[arg(long = "scope", required = true, value_name = "CAPABILITY")]
        scopes: Vec<String>,
        /// The only app it is good for
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// After which time it stops working, such as 12h or 90d
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Make one worthless
    Revoke {
        /// By id
        key: String,
    },
}

/// `picloud master-key`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum MasterKey {
    /// Make a new one and put all data keys under it, while everything runs
    #[command(
        after_help = "The file beside the service is replaced, the old one kept as `.previous` for old backups.\n\
                            Copy the new file to every other node's machine."
    )]
    Rotate,
}
