//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// The key that other keys are encrypted with [env: PICLOUD_MASTER_KEY_FILE] [default: <data-dir>/master.key]
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
