//! Over TLS: only with those who are who they say.

use std::sync::Arc;

use picloud_workers::http::Failure;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{ask, client, get, loopback};

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() });

    let came = ask(&client(&[loopback(port)]), get(&format!("https://127.0.0.1:{port}/"))).await;
    let Err(Failure::Connection(why)) = came else { panic!("{came:?}") };
    assert!(why.starts_with("no connection: ") && why.contains("certificate"), "{why}");
    assert!(!server.await.unwrap(), "it heard of it before anything was said");
}
