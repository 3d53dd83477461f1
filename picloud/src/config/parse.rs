//! From what was written to what is meant, with a sentence when that fails.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use picloud_workers::mail::{Sender, Server};
use reqwest::Url;
use tracing_subscriber::EnvFilter;

use super::{DatabaseUrl, KeptFor, LogFormat, Role, SecretHeaders};
use crate::lasting;

/// Instead of a password.
pub(super) const MASK: &str = "****";

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address".to_owned()
    })
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let wrong = "expected a host name without port or path, such as admin.example.com";
    let parsed = Url::parse(&format!("http://{text}")).map_err(|_| wrong.to_owned())?;
    let bare = parsed.port().is_none() && parsed.path() == "/" && parsed.username().is_empty();
    match parsed.host_str() {
        Some(host) if bare && !text.ends_with('/') && !text.contains(['?', '#', ':']) => Ok(host.to_owned()),
        _ => Err(wrong.to_owned()),
    }
}

/// The URL of an origin, without a slash at the end.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let wrong = "expected http:// or https:// and a host, without a path, such as https://example.com";
    let url = Url::parse(text).map_err(|_| wrong.to_owned())?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !plain {
        return Err(wrong.to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

pub(super) fn database(text: &str) -> Result<DatabaseUrl, String> {
    let wrong = "expected postgres://user:password@host/database";
    let url = Url::parse(text).map_err(|_| wrong.to_owned())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wrong.to_owned());
    }
    text.parse::<sqlx::postgres::PgConnectOptions>().map_err(|error| format!("{wrong} ({error})"))?;
    Ok(DatabaseUrl::new(text.to_owned()))
}

pub(super) fn mail_server(text: &str) -> Result<Server, String> {
    Server::read(text).map_err(|error| error.to_string())
}

pub(super) fn sender(text: &str) -> Result<Sender, String> {
    Sender::read(text).map_err(|_| "expected an address such as pi@example.com, or PiCloud <pi@example.com>".to_owned())
}

pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let plain = |url: &Url| {
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        is_plain && url.password().is_none() && matches!(url.scheme(), "http" | "https")
    };
    Url::parse(text).ok().filter(plain).ok_or_else(|| {
        "expected the URL of a collector that takes OTLP over HTTP, such as http://localhost:4318; what it asks for as a key \
         goes into OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned()
    })
}

/// `name=value` with commas between them, values percent-encoded, as OpenTelemetry writes them.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |(n, part): (usize, &str)| {
        let wrong = || format!("expected name=value with commas between them; part {} is not", n + 1);
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong())?;
        if name.trim().is_empty() { Err(wrong()) } else { Ok((name.trim().to_owned(), value.into_owned())) }
    };
    text.split(',').filter(|part| !part.trim().is_empty()).enumerate().map(pair).collect()
}

pub(super) fn headers(text: &str) -> Result<SecretHeaders, String> {
    let header = |(name, value): (String, String)| {
        let named = HeaderName::try_from(&name).map_err(|_| format!("`{name}` is no name of a header"))?;
        let mut value =
            HeaderValue::try_from(value).map_err(|_| format!("what stands behind `{name}=` cannot be sent"))?;
        value.set_sensitive(true);
        Ok((named, value))
    };
    Ok(SecretHeaders(pairs(text)?.into_iter().map(header).collect::<Result<_, String>>()?))
}

pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "expected which part of all traces is told, from 0 to 1, such as 0.1".to_owned())
}

pub(super) fn kept(text: &str) -> Result<KeptFor, String> {
    if text == "forever" {
        return Ok(KeptFor(None));
    }
    let kept = lasting::read(text).map(|lasts| KeptFor(Some(lasts)));
    kept.ok_or_else(|| "expected hours or days such as 12h or 90d, or `forever`".to_owned())
}

/// Networks or single addresses, with commas between them.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |part: &str| {
        let part = part.trim();
        let network = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| format!("expected addresses or networks with commas between them, such as 127.0.0.1, 10.0.0.0/8; `{part}` is neither"))
    };
    text.split(',').map(network).collect()
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    match Role::ALL.into_iter().find(|role| role.as_str() == text) {
        Some(Role::All) => Ok(Role::All),
        Some(other) => Err(format!(
            "this version cannot yet divide its work, so a node cannot be only `{}`: use `all`",
            other.as_str()
        )),
        None => Err(format!("expected one of {}", Role::ALL.map(Role::as_str).join(", "))),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("expected a filter such as `info` or `info,picloud_workers=debug` ({error})"))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected `text` or `json`".to_owned()),
    }
}

/// A URL as it may be shown: its password, if it has one, cut out.
pub(super) fn masked(url: &str) -> String {
    let Some(mut parsed) = Url::parse(url).ok().filter(|parsed| !parsed.cannot_be_a_base()) else {
        return if url.contains('@') { MASK.to_owned() } else { url.to_owned() };
    };
    let secret = |name: &str| matches!(name, "password" | "sslpassword");
    if parsed.query_pairs().any(|(name, _)| secret(&name)) {
        let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        let shown = pairs.iter().map(|(name, value)| (name, if secret(name) { MASK } else { value }));
        parsed.query_pairs_mut().clear().extend_pairs(shown);
    }
    // What stands behind the host is no password; but where one was not encoded, its end may stand there.
    if [Some(parsed.path()), parsed.fragment()].into_iter().flatten().any(|part| part.contains('@')) {
        return MASK.to_owned();
    }
    if parsed.password().is_some() && parsed.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if parsed.as_str().trim_end_matches('/') == url { url.to_owned() } else { parsed.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        assert_eq!(masked("postgres://me:secret@db/pi"), "postgres://me:****@db/pi");
        assert_eq!(
            masked("postgres://me@db/pi?password=secret&sslmode=require"),
            "postgres://me@db/pi?password=****&sslmode=require"
        );
        assert_eq!(masked("me:secret@db"), MASK, "no scheme");
        assert_eq!(masked("postgres://db/pi"), "postgres://db/pi");
        assert_eq!(masked("smtp://me:25/secret@host"), MASK, "a slash that was not encoded");
        assert_eq!(masked("smtp://me:25#secret@host"), MASK);
        assert_eq!(format!("{:?}", database("postgres://me:secret@db/pi").unwrap()), "postgres://me:****@db/pi");
    }

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them_and_not_shown() {
        let read = headers("authorization=Basic%20c2VjcmV0, x-scope = one").unwrap();
        assert_eq!(read.expose()["authorization"], "Basic c2VjcmV0");
        assert_eq!(read.expose()["x-scope"], "one");
        assert_eq!((format!("{read:?}"), format!("{read}")), (MASK.to_owned(), MASK.to_owned()));
        for wrong in ["hunter2", "a=b,hunter2", "bad name=hunter2", "a=hunter2%0d", "=hunter2"] {
            let refused = headers(wrong).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn networks_are_read_one_by_one() {
        assert_eq!(networks("127.0.0.1, fd00::/8").unwrap().len(), 2);
        assert!(networks("127.0.0.1,proxy").unwrap_err().contains("`proxy` is neither"));
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(origin("https://example.com/").as_deref(), Ok("https://example.com"));
        assert_eq!(origin("http://[::1]:8080").as_deref(), Ok("http://[::1]:8080"));
        for wrong in ["example.com", "https://example.com/x", "ftp://example.com", "https://u:p@example.com"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_a_name_alone() {
        assert_eq!(host("Admin.Example.com").as_deref(), Ok("admin.example.com"));
        for wrong in ["https://admin", "admin:80", "admin/x", ""] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
