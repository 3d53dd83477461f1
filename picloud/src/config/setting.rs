//! What can be set, and what it is called where.

/// One thing that can be set. Its flag is its key with dashes.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// In `picloud-server.toml`.
    pub key: &'static str,
    /// In the environment.
    pub variable: &'static str,
}

impl Setting {
    /// On the command line.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// Whether it is shown to nobody. Such has no flag: what is typed there, others on the machine see.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        *self == OTLP_HEADERS
    }

    /// Whether it is a URL, in which a password may stand.
    #[must_use]
    pub fn is_url(&self) -> bool {
        self.key.ends_with("_url") || *self == OTLP_ENDPOINT
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $variable:literal;)*) => {
        $($(#[$doc])* pub const $name: Setting = Setting { key: $key, variable: $variable };)*

        /// All of them, in the order they are shown.
        pub const ALL: &[Setting] = &[$($name),*];
    };
}

settings! {
    /// The data plane's address.
    LISTEN = "listen", "PICLOUD_LISTEN";
    /// The control plane's address.
    ADMIN_LISTEN = "admin_listen", "PICLOUD_ADMIN_LISTEN";
    /// The control plane's host name on the data plane's address.
    ADMIN_HOST = "admin_host", "PICLOUD_ADMIN_HOST";
    /// Where database, files and keys lie.
    DATA_DIR = "data_dir", "PICLOUD_DATA_DIR";
    /// A PostgreSQL that runs elsewhere.
    DATABASE_URL = "database_url", "DATABASE_URL";
    /// A direct connection to it.
    DATABASE_LISTEN_URL = "database_listen_url", "PICLOUD_DATABASE_LISTEN_URL";
    /// How the world reaches the data plane.
    PUBLIC_URL = "public_url", "PICLOUD_PUBLIC_URL";
    /// How people reach the control plane.
    ADMIN_URL = "admin_url", "PICLOUD_ADMIN_URL";
    /// The proxies whose `x-forwarded-for` counts.
    TRUSTED_PROXIES = "trusted_proxies", "PICLOUD_TRUSTED_PROXIES";
    /// What this node does.
    ROLE = "role", "PICLOUD_ROLE";
    /// The key that other keys are encrypted with.
    MASTER_KEY_FILE = "master_key_file", "PICLOUD_MASTER_KEY_FILE";
    /// How long what ran is kept.
    KEEP_RUNS = "keep_runs", "PICLOUD_KEEP_RUNS";
    /// How long what was stored can be looked back at.
    KEEP_DATA = "keep_data", "PICLOUD_KEEP_DATA";
    /// Where it is written to before it goes.
    ARCHIVE_DIR = "archive_dir", "PICLOUD_ARCHIVE_DIR";
    /// The server that takes mail.
    SMTP_URL = "smtp_url", "PICLOUD_SMTP_URL";
    /// From whom mail is.
    MAIL_FROM = "mail_from", "PICLOUD_MAIL_FROM";
    /// What is logged.
    LOG = "log", "PICLOUD_LOG";
    /// For whom it is logged.
    LOG_FORMAT = "log_format", "PICLOUD_LOG_FORMAT";
    /// Where traces go.
    OTLP_ENDPOINT = "otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT";
    /// What goes with them, such as a key.
    OTLP_HEADERS = "otlp_headers", "OTEL_EXPORTER_OTLP_HEADERS";
    /// Which part of them.
    OTLP_RATIO = "otlp_ratio", "OTEL_TRACES_SAMPLER_ARG";
    /// Under which name this service is found there.
    OTEL_SERVICE_NAME = "otel_service_name", "OTEL_SERVICE_NAME";
    /// What else is said of it there.
    OTEL_RESOURCE_ATTRIBUTES = "otel_resource_attributes", "OTEL_RESOURCE_ATTRIBUTES";
}

/// Variables that mean something to us and are no settings of the service.
pub(super) const OTHER_VARIABLES: &[&str] = &["PICLOUD_CONFIG", "PICLOUD_URL", "PICLOUD_KEY", "PICLOUD_PROFILE"];
