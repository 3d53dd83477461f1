//! Where log lines go and how they look.

use std::{env, fmt, io, io::IsTerminal};

use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

use crate::config::LogFormat;

/// Begins to log, to stderr. `filter` has been checked with the configuration.
pub fn start(filter: &str, format: LogFormat) {
    let mut env_filter = EnvFilter::new(filter);
    if !filter.contains("sqlx") {
        // "relation already exists, skipping" is news to nobody.
        env_filter = env_filter.add_directive("sqlx::postgres::notice=warn".parse().expect("a directive"));
    }
    let builder = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let terminal = io::stderr().is_terminal();
            let colours = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let timer = if terminal { Timer::Clock } else { Timer::Timestamp };
            builder.compact().with_target(false).with_ansi(colours).with_timer(timer).try_init()
        }
    };
}

/// Someone who watches wants the time of day; a file wants to be read next year.
enum Timer {
    Clock,
    Timestamp,
}

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::Clock => write!(writer, "{}", chrono::Local::now().format("%H:%M:%S%.3f")),
            Self::Timestamp => write!(writer, "{}", chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ")),
        }
    }
}
