//! `picloud serve`.

use std::collections::BTreeMap;

use clap::Args;

use super::{Output, args::Global, print};
use crate::{config, failure::Failure, logging, serve};

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
    /// Proxies whose `x-forwarded-for` counts, such as 127.0.0.1,10.0.0.0/8 [env: PICLOUD_TRUSTED_PROXIES] [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,
    /// What this node does [env: PICLOUD_ROLE] [default: all]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// The key that other keys are encrypted with [env: PICLOUD_MASTER_KEY_FILE] [default: master.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub master_key_file: Option<String>,
    /// How long runs and their log lines are kept: hours, days, `forever` [env: PICLOUD_KEEP_RUNS] [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub keep_runs: Option<String>,
    /// How far back stored data can be looked at: hours, days, `forever` [env: PICLOUD_KEEP_DATA] [default: 90d]
    #[arg(long, value_name = "TIME")]
    pub keep_data: Option<String>,
    /// The folder that what was kept for long enough is written to before it goes [env: PICLOUD_ARCHIVE_DIR] [default: none]
    #[arg(long, value_name = "FOLDER")]
    pub archive_dir: Option<String>,
    /// The server that takes mail, smtp://user:password@host:587 or smtps:// [env: PICLOUD_SMTP_URL] [default: none]
    #[arg(long, value_name = "URL")]
    pub smtp_url: Option<String>,
    /// From whom mail is, such as pi@example.com [env: PICLOUD_MAIL_FROM] [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub mail_from: Option<String>,
    /// What is logged [env: PICLOUD_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// `text` or `json` [env: PICLOUD_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Where traces go [env: OTEL_EXPORTER_OTLP_ENDPOINT] [default: off]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Which part of all traces is told, from 0 to 1 [env: OTEL_TRACES_SAMPLER_ARG] [default: 1]
    #[arg(long, value_name = "RATIO")]
    pub otlp_ratio: Option<String>,
    /// Show each value and where it came from, and end
    #[arg(long)]
    pub print_config: bool,
}

/// Settles the configuration, then runs the service until it is told to stop.
pub(super) fn run(global: &Global, arguments: &Serve) -> Result<(), Failure> {
    let sources = global.sources(arguments.flags())?;
    let (config, shown) = config::resolve(&sources)?;
    if arguments.print_config {
        match global.output {
            Output::Table => print::text(&config::table(&shown)),
            Output::Json => print::list(&shown),
        }
        return Ok(());
    }
    logging::start(&config.log, config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start: {error}")))?;
    runtime.block_on(serve::run(config))?;
    Ok(())
}

impl Serve {
    /// The flags that were given, by the key of their setting.
    fn flags(&self) -> BTreeMap<&'static str, String> {
        use config::setting as s;
        [
            (s::LISTEN, &self.listen),
            (s::ADMIN_LISTEN, &self.admin_listen),
            (s::ADMIN_HOST, &self.admin_host),
            (s::DATABASE_URL, &self.database_url),
            (s::DATABASE_LISTEN_URL, &self.database_listen_url),
            (s::PUBLIC_URL, &self.public_url),
            (s::ADMIN_URL, &self.admin_url),
            (s::ROLE, &self.role),
            (s::MASTER_KEY_FILE, &self.master_key_file),
            (s::KEEP_RUNS, &self.keep_runs),
            (s::KEEP_DATA, &self.keep_data),
            (s::ARCHIVE_DIR, &self.archive_dir),
            (s::SMTP_URL, &self.smtp_url),
            (s::MAIL_FROM, &self.mail_from),
            (s::LOG, &self.log),
            (s::LOG_FORMAT, &self.log_format),
            (s::OTLP_ENDPOINT, &self.otlp_endpoint),
            (s::OTLP_RATIO, &self.otlp_ratio),
            (s::TRUSTED_PROXIES, &self.trusted_proxies),
        ]
        .into_iter()
        .filter_map(|(setting, value)| Some((setting.key, value.clone()?)))
        .collect()
    }
}
