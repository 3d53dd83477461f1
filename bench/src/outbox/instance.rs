//! The service that is measured, its database, and its control plane.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::Method;
use picloud::{
    client::Client,
    embedded::Embedded,
    profile::{Profile, Target},
};
use picloud_core::{
    id::{AppId, RouteId, ScriptId},
    keys::{DataKey, Keyring, MasterKey},
};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::time::sleep;

use crate::{
    Bench,
    append::database,
    calls::{start_picloud, url},
    process::Service,
};

const DATABASE: &str = "outbox";

/// How often to look whether all is done. What is measured ends when the log says, not when this is noticed.
const LOOK: Duration = Duration::from_millis(100);

pub struct Instance {
    pub service: Service,
    pub admin: Client,
    pub pool: PgPool,
    pub options: PgConnectOptions,
    pub app: AppId,
    /// What requests and recordings are sealed under.
    pub key: Arc<DataKey>,
    /// The route of mode `async`, and its script.
    pub route: RouteId,
    pub script: ScriptId,
}

impl Instance {
    pub async fn start(bench: &Bench, cluster: &Embedded) -> anyhow::Result<Self> {
        let pool = database(cluster, DATABASE).await?;
        let service = start_picloud(bench, &url(cluster, DATABASE), &[]).await?;
        let data_dir = bench.work.join("service");
        let profile = Profile::read(&Profile::path(&data_dir))?.context("the service wrote no profile")?;
        let admin = Client::new(Target { url: profile.url, key: profile.key })?;
        let app: Value = admin.get("/api/v1/admin/apps/default").await?;
        let routes = admin.list("/api/v1/admin/apps/default/routes").await?;
        let route = routes.iter().find(|route| route["path"] == "/later").context("no route `/later`")?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("an id is text");
        let app = text(&app["id"])?.parse()?;
        let master = MasterKey::load_or_make(&data_dir.join("master.key"))?;
        let key = Keyring::open(master, pool.clone()).await?.app(app).await?;
        Ok(Self {
            app,
            key,
            route: text(&route["id"])?.parse()?,
            script: text(&route["script"])?.parse()?,
            service,
            admin,
            options: cluster.options().database(DATABASE),
            pool,
        })
    }

    /// Pauses the app, and waits until all of the node knows; or resumes it.
    pub async fn set_paused(&self, is_paused: bool) -> anyhow::Result<()> {
        let path = if is_paused { "pause" } else { "resume" };
        let request = self.admin.request(Method::POST, &format!("/api/v1/admin/apps/default/{path}"));
        self.admin.send(request).await?;
        while is_paused && self.admin.get::<Value>("/api/v1/admin/apps/default").await?["paused"] != true {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The position of the last event.
    pub async fn head(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select log.find_head()").fetch_one(&self.pool).await?)
    }

    /// Waits until nothing can run or runs.
    pub async fn is_done(&self, at_most: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut before = None;
        loop {
            // Only when the log stands still: a look at tables full of what has died takes time from what is measured.
            let head = self.head().await?;
            let is_over = before.replace(head) == Some(head) && !self.is_busy().await?;
            if is_over {
                return Ok(());
            }
            ensure!(began.elapsed() < at_most, "items are left after {at_most:?}");
            sleep(LOOK).await;
        }
    }

    async fn is_busy(&self) -> anyhow::Result<bool> {
        let query = "select exists (select from live.ready) or exists (select from live.lease)";
        Ok(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
    }

    /// What was written by one measurement is not to be paid for by the next.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        sqlx::query("checkpoint").execute(&self.pool).await?;
        Ok(())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.service.stop().await?;
        self.pool.close().await;
        Ok(())
    }
}
