//! A database on the other side of TLS, as managed ones are.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::StatusCode;
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{app, home::Home, service::Start, shared_database::SharedDatabase};

#[tokio::test]
async fn a_database_behind_tls_is_used_when_its_certificate_is_trusted_and_not_otherwise() {
    let home = Arc::new(Home::new());
    let database = SharedDatabase::new().await;
    let authority = Authority::new();
    home.write("ca.pem", &authority.0.pem());
    let front = authority.front_of(&database).await;
    let name = database.options().get_database().unwrap().to_owned();
    let url = format!("postgres://picloud@localhost:{}/{name}?sslmode=verify-full", front.port());

    let (status, said) = Start::new(&home).with("DATABASE_URL", &url).spawn().ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("certificate") && said.contains("failed to connect"), "it says why: {said}");

    let trusting = format!("{url}&sslrootcert={}", home.path().join("ca.pem").display());
    let service = Start::new(&home).with("DATABASE_URL", trusting).ready().await;
    let app = app::write(&home, "far", &[("count", "POST /count", app::COUNT)]);
    home.picloud(&["deploy", &app]).await;
    assert_eq!(service.post("far.localhost", "/count").await, (StatusCode::OK, "1".to_owned()));
    service.stop().await;
}

/// Signs the certificate of the test's server.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The database on a TCP port, which speaks TLS as PostgreSQL does: the client asks for it first.
    async fn front_of(&self, database: &SharedDatabase) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = socket_of(&database.options());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (acceptor, socket) = (acceptor.clone(), socket.clone());
                tokio::spawn(async move { pass_on(client, acceptor, &socket).await });
            }
        });
        address
    }
}

/// One connection. It ends when either side does, or when the client does not like the certificate.
async fn pass_on(mut client: TcpStream, acceptor: TlsAcceptor, socket: &str) -> std::io::Result<()> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await?;
    assert_eq!(asked, SSL_REQUEST, "it asks for TLS before it says anything else");
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = UnixStream::connect(socket).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn socket_of(options: &PgConnectOptions) -> String {
    let folder = options.get_socket().expect("the test server is on a Unix socket").display();
    format!("{folder}/.s.PGSQL.{}", options.get_port())
}
