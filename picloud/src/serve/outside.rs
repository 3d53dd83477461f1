//! What scripts of this node call others with, and what they must not reach: the platform itself.

use std::{net::SocketAddr, sync::Arc};

use picloud_projections::setup::LiveSetup;
use picloud_workers::http::{Client, Settings, SystemResolver};
use sqlx::postgres::PgConnectOptions;
use tokio::net::lookup_host;
use tracing::warn;

/// The platform's own addresses of a node that listens there and has these ways to its database.
pub(super) async fn forbidden(listening: Vec<SocketAddr>, databases: [&PgConnectOptions; 2]) -> Arc<[SocketAddr]> {
    let mut forbidden = listening;
    for database in databases {
        forbidden.extend(addresses(database).await);
    }
    forbidden.into()
}

/// One client for a node. What each app may call besides the public internet is looked up at every call, so that what is
/// taken away is gone with the next one.
pub(super) fn client(forbidden: Arc<[SocketAddr]>, setup: &LiveSetup) -> Client {
    let setup = setup.clone();
    Client::new(Settings {
        forbidden,
        exceptions_of: Arc::new(move |app| {
            setup.get().apps.get(&app).map_or_else(Arc::default, |app| Arc::clone(&app.may_call))
        }),
        resolver: Arc::new(SystemResolver::default()),
    })
}

/// Where a database listens; nowhere, when it has only a socket in the file system.
async fn addresses(database: &PgConnectOptions) -> Vec<SocketAddr> {
    let (host, port) = (database.get_host(), database.get_port());
    if database.get_socket().is_some() || host.starts_with('/') {
        return Vec::new();
    }
    match lookup_host((host.trim_matches(['[', ']']), port)).await {
        Ok(found) => found.collect(),
        Err(error) => {
            warn!(%error, "Failed to look up the database's address: an exception for its network would let scripts call it");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn addresses_of(url: &str) -> Vec<String> {
        let mut found: Vec<_> = addresses(&url.parse().unwrap()).await.iter().map(SocketAddr::to_string).collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_database_on_the_network_has_addresses_and_one_behind_a_socket_has_none() {
        assert_eq!(addresses_of("postgres://picloud@10.0.0.5:6432/x").await, ["10.0.0.5:6432"]);
        assert_eq!(addresses_of("postgres://picloud@[fd00::5]/x").await, ["[fd00::5]:5432"]);
        assert!(addresses_of("postgres://picloud@localhost/x").await.contains(&"127.0.0.1:5432".to_owned()));
        assert!(addresses_of("postgres://picloud@localhost/x?host=%2Frun%2Fpostgresql").await.is_empty());
    }
}
