//! `picloud serve`.

use std::collections::BTreeMap;

use super::{
    Output,
    args::{Global, Serve},
    print,
};
use crate::{config, failure::Failure, logging, serve};

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
