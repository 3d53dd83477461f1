//! Connecting to the embedded PostgreSQL.

use std::path::Path;

use sqlx::{
    Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Error, settings::USER};

/// The database that PiCloud lives in.
pub(super) const DATABASE: &str = "picloud";
/// The one that every cluster has.
const MAINTENANCE: &str = "postgres";

/// Everything is said explicitly: a stray `PGPORT` in the environment must not lead elsewhere.
pub(super) fn options(socket_dir: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .socket(socket_dir)
        .port(5432)
        .username(USER)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("picloud")
}

/// The same as text.
pub(super) fn url(socket_dir: &Path, database: &str) -> String {
    let mut host = String::new();
    for byte in socket_dir.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => host.push(char::from(*byte)),
            other => host.push_str(&format!("%{other:02X}")),
        }
    }
    format!("postgres://{USER}@localhost/{database}?host={host}")
}

/// Whether the server takes connections yet.
pub(super) async fn try_connect(socket_dir: &Path) -> Result<(), sqlx::Error> {
    let connection = PgConnection::connect_with(&options(socket_dir, MAINTENANCE)).await?;
    connection.close().await
}

/// Makes the database at the first start.
pub(super) async fn ensure_database(socket_dir: &Path) -> Result<(), Error> {
    let mut connection =
        PgConnection::connect_with(&options(socket_dir, MAINTENANCE)).await.map_err(Error::Database)?;
    let known = sqlx::query("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get::<bool, _>(0))
        .map_err(Error::Database)?;
    if !known {
        sqlx::query("create database picloud").execute(&mut connection).await.map_err(Error::Database)?;
    }
    connection.close().await.map_err(Error::Database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_leads_to_the_same_place() {
        let dir = Path::new("/srv/my data/run");
        let parsed: PgConnectOptions = url(dir, "picloud").parse().unwrap();
        assert_eq!(parsed.get_socket().map(|socket| socket.as_path()), Some(dir));
        assert_eq!(parsed.get_username(), "picloud");
        assert_eq!(parsed.get_database(), Some("picloud"));
    }
}
