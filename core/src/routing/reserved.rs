//! The few paths of the data plane that are the platform's own.

/// What no route may claim: a name ending in `/` stands for all below it, any other for itself alone.
pub const RESERVED: &[&str] =
    &["/api/v1/execute/", "/api/v1/outbox/", "/api/v1/email-inbound/", "/realtime/", "/healthz", "/readyz", "/version"];

/// Whether the platform answers this path itself, whatever routes there are.
#[must_use]
pub fn is_reserved(path: &str) -> bool {
    RESERVED.iter().any(|reserved| if reserved.ends_with('/') { path.starts_with(reserved) } else { path == *reserved })
}
