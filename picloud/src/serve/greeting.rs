//! What a person sees when the service is up: where it is, and what to type next.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

use super::Database;
use crate::{
    config::{Config, LogFormat},
    embedded,
};

/// Prints it, unless the log is for programs.
pub(super) fn print(
    config: &Config,
    database: &Database,
    is_first_start: bool,
    owner_link: Option<&str>,
    took: Duration,
) {
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
    if let Some(link) = owner_link {
        text += &format!("\n  {bold}Make your account{reset}, within 30 minutes:\n\n    {link}\n");
    }
    // Where the data is not where commands look for it, they have to be told.
    let elsewhere = match &config.data_dir {
        dir if *dir == embedded::default_data_dir() => String::new(),
        dir => format!("    export PICLOUD_DATA_DIR={}\n", shell_word(&dir.to_string_lossy())),
    };
    text += &format!(
        "\n  Next, in another terminal:\n\n{elsewhere}    \
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

/// A text as a shell reads it back.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_typed_as_it_is_shown() {
        assert_eq!(shell_word("/var/tmp/a-b_1"), "/var/tmp/a-b_1");
        assert_eq!(shell_word("/it's here"), r"'/it'\''s here'");
    }
}
