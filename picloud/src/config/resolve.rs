//! From what was said to a [`Config`].

use std::{fmt, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use picloud_projections::retention::Keep;
use picloud_workers::mail;
use reqwest::Url;

use super::{
    Config, ConfigError, ControlPlane, Database, DatabaseUrl, KeptFor, LogFormat, Otlp, Role, SecretHeaders, parse,
    setting::{self, Setting},
    show::Shown,
    sources::{Origin, Sources},
};
use crate::embedded::default_data_dir;

/// Names with their values, in the order they were given.
type Pairs = Vec<(String, String)>;

/// A value and who set it.
struct Chosen<T> {
    value: T,
    origin: Origin,
}

impl<T> Chosen<T> {
    fn is_said(&self) -> bool {
        self.origin != Origin::Default
    }

    /// Another form of the value.
    fn with<U>(&self, value: U) -> Chosen<U> {
        Chosen { value, origin: self.origin.clone() }
    }
}

impl<T: fmt::Display> Chosen<T> {
    fn shown(&self, setting: &Setting) -> Shown {
        Shown::new(setting, parse::masked(&self.value.to_string()), &self.origin)
    }
}

/// The configuration, and each of its values as it may be shown.
///
/// # Errors
/// [`ConfigError`], for the first value that cannot be used.
pub fn resolve(sources: &Sources) -> Result<(Config, Vec<Shown>), ConfigError> {
    let settled = Settled::from(sources)?;
    let shown = settled.shown();
    Ok((settled.into_config()?, shown))
}

/// Every setting with its value and who set it.
struct Settled {
    listen: Chosen<SocketAddr>,
    control_plane: Chosen<ControlPlane>,
    data_dir: Chosen<PathBuf>,
    database_url: Option<Chosen<DatabaseUrl>>,
    database_listen_url: Option<Chosen<DatabaseUrl>>,
    public_url: Chosen<String>,
    admin_url: Chosen<String>,
    role: Chosen<Role>,
    master_key_file: Chosen<PathBuf>,
    keep_runs: Chosen<KeptFor>,
    keep_data: Chosen<KeptFor>,
    archive_dir: Option<Chosen<PathBuf>>,
    smtp_url: Option<Chosen<mail::Server>>,
    mail_from: Option<Chosen<mail::Sender>>,
    log: Chosen<String>,
    log_format: Chosen<LogFormat>,
    trusted_proxies: Option<Chosen<Vec<IpNet>>>,
    otlp_endpoint: Option<Chosen<Url>>,
    otlp_headers: Option<Chosen<SecretHeaders>>,
    otlp_ratio: Chosen<f64>,
    otel_service_name: Option<Chosen<String>>,
    otel_resource_attributes: Option<Chosen<Pairs>>,
}

impl Settled {
    fn from(sources: &Sources) -> Result<Self, ConfigError> {
        let listen = said_or(sources, &setting::LISTEN, parse::address, || ([127, 0, 0, 1], 8080).into())?;
        let control_plane = control_plane(sources, &listen)?;
        let data_dir = data_dir_chosen(sources)?;
        let public_url =
            said_or(sources, &setting::PUBLIC_URL, parse::origin, || format!("http://{}", reachable(listen.value)))?;
        let admin_url = said_or(sources, &setting::ADMIN_URL, parse::origin, || {
            default_admin_url(&control_plane.value, listen.value, &public_url)
        })?;
        let beside_data = || data_dir.value.join("master.key");
        Ok(Self {
            database_url: said(sources, &setting::DATABASE_URL, parse::database)?,
            database_listen_url: said(sources, &setting::DATABASE_LISTEN_URL, parse::database)?,
            trusted_proxies: said(sources, &setting::TRUSTED_PROXIES, parse::networks)?,
            role: said_or(sources, &setting::ROLE, parse::role, || Role::All)?,
            master_key_file: said_or(sources, &setting::MASTER_KEY_FILE, path, beside_data)?,
            keep_runs: said_or(sources, &setting::KEEP_RUNS, parse::kept, || KeptFor(Keep::DEFAULT.runs))?,
            keep_data: said_or(sources, &setting::KEEP_DATA, parse::kept, || KeptFor(Keep::DEFAULT.data))?,
            archive_dir: said(sources, &setting::ARCHIVE_DIR, path)?,
            smtp_url: said(sources, &setting::SMTP_URL, parse::mail_server)?,
            mail_from: said(sources, &setting::MAIL_FROM, parse::sender)?,
            log: said_or(sources, &setting::LOG, parse::log_filter, || "info".to_owned())?,
            log_format: said_or(sources, &setting::LOG_FORMAT, parse::log_format, || LogFormat::Text)?,
            otlp_endpoint: said(sources, &setting::OTLP_ENDPOINT, parse::endpoint)?,
            otlp_headers: said(sources, &setting::OTLP_HEADERS, parse::headers)?,
            otlp_ratio: said_or(sources, &setting::OTLP_RATIO, parse::ratio, || 1.0)?,
            otel_service_name: said(sources, &setting::OTEL_SERVICE_NAME, |text| Ok(text.to_owned()))?,
            otel_resource_attributes: said(sources, &setting::OTEL_RESOURCE_ATTRIBUTES, parse::pairs)?,
            listen,
            control_plane,
            data_dir,
            public_url,
            admin_url,
        })
    }

    fn shown(&self) -> Vec<Shown> {
        let control = &self.control_plane;
        let (admin_listen, admin_host) = match &control.value {
            ControlPlane::Listen(address) => (Some(control.with(address.to_string())), None),
            ControlPlane::Host(host) => (None, Some(control.with(host.clone()))),
        };
        let proxies = self
            .trusted_proxies
            .as_ref()
            .map(|chosen| chosen.with(chosen.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
        let attributes = self.otel_resource_attributes.as_ref().map(|chosen| {
            chosen
                .with(chosen.value.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
        });
        vec![
            self.listen.shown(&setting::LISTEN),
            shown_or(admin_listen.as_ref(), &setting::ADMIN_LISTEN, "none"),
            shown_or(admin_host.as_ref(), &setting::ADMIN_HOST, "none"),
            self.data_dir.with(self.data_dir.value.display()).shown(&setting::DATA_DIR),
            shown_or(self.database_url.as_ref(), &setting::DATABASE_URL, "embedded"),
            shown_or(self.database_listen_url.as_ref(), &setting::DATABASE_LISTEN_URL, "same as database_url"),
            self.public_url.shown(&setting::PUBLIC_URL),
            self.admin_url.shown(&setting::ADMIN_URL),
            shown_or(proxies.as_ref(), &setting::TRUSTED_PROXIES, "none"),
            self.role.with(self.role.value.as_str()).shown(&setting::ROLE),
            self.master_key_file.with(self.master_key_file.value.display()).shown(&setting::MASTER_KEY_FILE),
            self.keep_runs.shown(&setting::KEEP_RUNS),
            self.keep_data.shown(&setting::KEEP_DATA),
            shown_or(
                self.archive_dir.as_ref().map(|folder| folder.with(folder.value.display())).as_ref(),
                &setting::ARCHIVE_DIR,
                "none",
            ),
            shown_or(self.smtp_url.as_ref(), &setting::SMTP_URL, "none"),
            shown_or(self.mail_from.as_ref(), &setting::MAIL_FROM, "none"),
            self.log.shown(&setting::LOG),
            self.log_format.with(self.log_format.value.as_str()).shown(&setting::LOG_FORMAT),
            shown_or(self.otlp_endpoint.as_ref(), &setting::OTLP_ENDPOINT, "off"),
            shown_or(self.otlp_headers.as_ref(), &setting::OTLP_HEADERS, "none"),
            self.otlp_ratio.shown(&setting::OTLP_RATIO),
            shown_or(self.otel_service_name.as_ref(), &setting::OTEL_SERVICE_NAME, "picloud"),
            shown_or(attributes.as_ref(), &setting::OTEL_RESOURCE_ATTRIBUTES, "none"),
        ]
    }

    fn into_config(self) -> Result<Config, ConfigError> {
        Ok(Config {
            listen: self.listen.value,
            control_plane: self.control_plane.value,
            data_dir: self.data_dir.value,
            database: database(self.database_url, self.database_listen_url)?,
            public_url: self.public_url.value,
            admin_url: self.admin_url.value,
            trusted_proxies: self.trusted_proxies.map(|chosen| chosen.value).unwrap_or_default(),
            role: self.role.value,
            master_key_file: self.master_key_file.value,
            keep_runs: self.keep_runs.value,
            keep_data: self.keep_data.value,
            archive_dir: self.archive_dir.map(|chosen| chosen.value),
            mail: mail(self.smtp_url, self.mail_from)?,
            log: self.log.value,
            log_format: self.log_format.value,
            otlp: self.otlp_endpoint.map(|endpoint| Otlp {
                endpoint: endpoint.value,
                headers: self.otlp_headers.map(|chosen| chosen.value).unwrap_or_default(),
                ratio: self.otlp_ratio.value,
                service_name: self.otel_service_name.map(|chosen| chosen.value),
                attributes: self.otel_resource_attributes.map(|chosen| chosen.value).unwrap_or_default(),
            }),
        })
    }
}

/// The data directory alone: the command line looks for its profile there.
///
/// # Errors
/// None today; a place can always be named.
pub fn data_dir(sources: &Sources) -> Result<PathBuf, ConfigError> {
    data_dir_chosen(sources).map(|chosen| chosen.value)
}

fn data_dir_chosen(sources: &Sources) -> Result<Chosen<PathBuf>, ConfigError> {
    said_or(sources, &setting::DATA_DIR, path, default_data_dir)
}

fn control_plane(sources: &Sources, listen: &Chosen<SocketAddr>) -> Result<Chosen<ControlPlane>, ConfigError> {
    let host = said(sources, &setting::ADMIN_HOST, parse::host)?;
    let address = said(sources, &setting::ADMIN_LISTEN, parse::address)?;
    match (host, address) {
        (Some(host), Some(address)) => Err(ConfigError::Contradiction(format!(
            "{} and {} cannot both be set: the control plane is either at an address of its own or at the data plane's",
            host.origin, address.origin
        ))),
        (Some(host), None) => Ok(Chosen { value: ControlPlane::Host(host.value), origin: host.origin }),
        (None, address) => {
            let otherwise = Chosen { value: SocketAddr::from(([127, 0, 0, 1], 8081)), origin: Origin::Default };
            let address = address.unwrap_or(otherwise);
            if address.value == listen.value && listen.value.port() != 0 {
                return Err(ConfigError::Contradiction(format!(
                    "data plane ({}) and control plane ({}) are both at {}: give them different ports, or the control \
                     plane a host name of its own with --admin-host",
                    listen.origin, address.origin, listen.value
                )));
            }
            Ok(Chosen { value: ControlPlane::Listen(address.value), origin: address.origin })
        }
    }
}

fn database(url: Option<Chosen<DatabaseUrl>>, listen: Option<Chosen<DatabaseUrl>>) -> Result<Database, ConfigError> {
    match (url, listen) {
        (Some(url), listen) => {
            let listen = listen.map_or_else(|| url.value.clone(), |listen| listen.value);
            Ok(Database::Url { url: url.value, listen })
        }
        (None, None) => Ok(Database::Embedded),
        (None, Some(listen)) => Err(ConfigError::Contradiction(format!(
            "{} is set without --database-url: the embedded PostgreSQL has no other way in",
            listen.origin
        ))),
    }
}

fn mail(
    server: Option<Chosen<mail::Server>>,
    sender: Option<Chosen<mail::Sender>>,
) -> Result<Option<mail::Settings>, ConfigError> {
    match (server, sender) {
        (Some(server), Some(sender)) => Ok(Some(mail::Settings { server: server.value, sender: sender.value })),
        (None, None) => Ok(None),
        (Some(server), None) => Err(ConfigError::Contradiction(format!(
            "{} is set without --mail-from: say from which address mail is, such as pi@example.com",
            server.origin
        ))),
        (None, Some(sender)) => Err(ConfigError::Contradiction(format!(
            "{} is set without --smtp-url: say which server takes mail, such as smtp://user:password@host:587",
            sender.origin
        ))),
    }
}

fn default_admin_url(control: &ControlPlane, listen: SocketAddr, public_url: &Chosen<String>) -> String {
    match control {
        ControlPlane::Listen(address) => format!("http://{}", reachable(*address)),
        // Whatever stands before the data plane stands before the control plane too.
        ControlPlane::Host(host) if public_url.is_said() => {
            let scheme = public_url.value.split("://").next().unwrap_or("https");
            let port = Url::parse(&public_url.value).ok().and_then(|url| url.port());
            port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}"))
        }
        ControlPlane::Host(host) => format!("http://{host}:{}", listen.port()),
    }
}

/// Where a browser on this machine finds what listens there.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

fn said<T>(
    sources: &Sources,
    setting: &'static Setting,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<Chosen<T>>, ConfigError> {
    let Some((text, origin)) = sources.get(setting) else { return Ok(None) };
    match parse(text.trim()) {
        Ok(value) => Ok(Some(Chosen { value, origin })),
        Err(problem) => {
            let value = match setting {
                setting if setting.is_secret() => parse::MASK.to_owned(),
                setting if setting.is_url() => parse::masked(text),
                _ => text.to_owned(),
            };
            Err(ConfigError::BadValue { origin: origin.to_string(), value, problem })
        }
    }
}

fn said_or<T>(
    sources: &Sources,
    setting: &'static Setting,
    parse: impl FnOnce(&str) -> Result<T, String>,
    otherwise: impl FnOnce() -> T,
) -> Result<Chosen<T>, ConfigError> {
    let said = said(sources, setting, parse)?;
    Ok(said.unwrap_or_else(|| Chosen { value: otherwise(), origin: Origin::Default }))
}

fn shown_or<T: fmt::Display>(chosen: Option<&Chosen<T>>, setting: &Setting, otherwise: &str) -> Shown {
    chosen.map_or_else(|| Shown::new(setting, otherwise.to_owned(), &Origin::Default), |chosen| chosen.shown(setting))
}
