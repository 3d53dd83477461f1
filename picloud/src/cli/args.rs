//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Serve(Serve),
    /// Deploy a script, or an app that a picloud.toml declares
    Deploy(Deploy),
    /// Watch a folder, and deploy what changes
    Dev(Dev),
    /// Run a script and show what it answers
    Invoke(Invoke),
    /// What scripts log, and how they fail, newest last
    Logs(Logs),
    /// What happened, newest last
    Events(Events),
    /// Which requests run which scripts
    Routes(InApp),
    /// An app's configuration values, `ctx.env`
    #[command(subcommand)]
    Env(Env),
    /// Apps
    #[command(subcommand)]
    App(App),
    /// Check this machine, and the server that commands would talk to
    Doctor,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// The settings of the service. Their values are checked with those of the environment and the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// The data plane's address [env: PICLOUD_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The control plane's address [env: PICLOUD_ADMIN_LISTEN] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Instead: the control plane's host name at the data plane's address [env: PICLOUD_ADMIN_HOST]
    #[arg(long, value_name = "HOST")]
    pub admin_host: Option<String>,
    /// PostgreSQL 14 to 18 [env: DATABASE_URL] [default: one of its own under the data directory]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// A direct connection, where the other goes through a transaction pooler [env: PICLOUD_DATABASE_LISTEN_URL]
    #[arg(long, value_name = "URL")]
    pub database_listen_url: Option<String>,
    /// How the world reaches the data plane [env: PICLOUD_PUBLIC_URL] [default: from --listen]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// How people reach the control plane [env: PICLOUD_ADMIN_URL] [default: from --admin-listen]
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
    /// What this node does [env: PICLOUD_ROLE] [default: all]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// The key that other keys are encrypted with [env: PICLOUD_MASTER_KEY_FILE] [default: master.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub master_key_file: Option<String>,
    /// What is logged [env: PICLOUD_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// `text` or `json` [env: PICLOUD_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Where traces go [env: OTEL_EXPORTER_OTLP_ENDPOINT] [default: off]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Show each value and where it came from, and end
    #[arg(long)]
    pub print_config: bool,
}

/// Which app.
#[derive(Clone, Debug, Args)]
pub struct InApp {
    /// The app, by slug or id
    #[arg(long, default_value = "default", value_name = "APP")]
    pub app: String,
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
}
