//! What a person sees when the service is up: where it is, and what to type next.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

use super::Database;
use crate::config::{Config, LogFormat};

/// Prints it, unless the log is for programs.
pub(super) fn print(config: &Config, database: &Database, is_first_start: bool, took: Duration) {
    if config.log_format == LogFormat::Json {
        return;
    }
    let (bold, dim, reset) = if stderr().is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let picloud = program();
    let (public, admin) = (&config.public_url, &config.admin_url);
    let mut text = format!(
        "\n  {bold}PiCloud {version}{reset} is up {dim}({took} ms){reset}\n\n\
         {dim}  scripts    {reset} {public}\n\
         {dim}  admin API  {reset} {admin}\n\
         {dim}  data       {reset} {data}, {database}\n",
        version = env!("CARGO_PKG_VERSION"),
        took = took.as_millis(),
        data = config.data_dir.display(),
        database = database.described(),
    );
    if is_first_start {
        text += &format!("{dim}  CLI key    {reset} in {}/profile.toml, made just now\n", config.data_dir.display());
    }
    text += &format!(
        "\n  Next, in another terminal:\n\n    \
         echo '\"Hello, \" + (ctx.request.query.name ?? \"world\") + \"!\"' > hello.rhai\n    \
         {picloud} deploy hello.rhai --route 'GET /hello'\n    \
         curl '{public}/hello?name=you'\n    \
         {picloud} logs -f\n\n"
    );
    // A terminal that is gone is no reason to stop serving.
    let _ = stderr().write_all(text.as_bytes());
}

/// The program as it was called, so that the lines can be typed as they stand.
fn program() -> String {
    std::env::args().next().filter(|name| name.contains('/')).unwrap_or_else(|| "picloud".to_owned())
}
