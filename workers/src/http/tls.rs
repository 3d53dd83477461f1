//! How `https` is spoken: with the certificates that the machine trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring, version};
use rustls_platform_verifier::Verifier;
use tracing::warn;

/// What all connections share. Made once: it reads the machine's certificates.
pub(super) fn config() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("ring speaks both versions");
    let mut config = match Verifier::new(provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        Err(error) => {
            warn!(%error, "This machine trusts no certificates: scripts cannot call `https` URLs");
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
