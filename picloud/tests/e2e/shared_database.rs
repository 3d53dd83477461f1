//! A database of the test server's for one test, for services that share it or bring none of their own.

use std::env;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

/// A new database; dropped with whoever still uses it.
pub struct SharedDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl SharedDatabase {
    pub async fn new() -> Self {
        let url = server_url();
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("picloud_e2e_{}", picloud_core::id::RequestId::generate().uuid().simple());
        let mut connection = PgConnection::connect_with(&server).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let mut own = reqwest::Url::parse(&url).unwrap();
        own.set_path(&name);
        Self { server, name, url: own.into() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.unwrap()
    }
}

impl Drop for SharedDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = async move {
            let mut connection = PgConnection::connect_with(&server).await?;
            let statement = format!("drop database {name} with (force)");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await
        };
        // A thread of its own: the test's runtime is busy with the test's end.
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(dropping);
        if let Err(error) = std::thread::spawn(runtime).join().unwrap() {
            eprintln!("the test's database is left behind: {error}");
        }
    }
}

/// The server that `scripts/test` started, or the one that `.env` names for queries to be checked on.
fn server_url() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env");
    let from_file = || {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("DATABASE_URL=").map(str::to_owned))
    };
    env::var("DATABASE_URL").ok().or_else(from_file).expect("DATABASE_URL names a server; scripts/test starts one")
}
