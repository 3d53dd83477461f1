//! The one connection of a node that listens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::mpsc, time::sleep};
use tracing::warn;

use super::{CHANNEL, Pieces, Shared};
use crate::log::{Broadcast, Position, broadcast};

/// How long to wait before trying to listen again.
const RELISTEN: Duration = Duration::from_secs(1);

/// What was heard.
pub(super) enum Heard {
    /// Somebody appended up to here.
    Head(Position),
    /// Somebody broadcasts this.
    Broadcast(Broadcast),
    /// Notifications may have been missed.
    Reconnected,
}

/// The listening half: hears what other nodes appended, and whether the node hears itself.
pub(super) struct Ear {
    pub own: String,
    pub heard: mpsc::Sender<Heard>,
    pub pinged: Arc<AtomicBool>,
    pub shared: Arc<Shared>,
}

impl Ear {
    /// Listens until nobody wants to hear any more; reconnects by itself.
    pub async fn listen(self, pool: PgPool) {
        loop {
            match Self::connect(&pool).await {
                Ok(listener) => {
                    if self.hear(listener).await.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, "Failed to listen");
                    self.shared.unheard();
                    sleep(RELISTEN).await;
                }
            }
        }
    }

    async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all([CHANNEL, broadcast::CHANNEL]).await?;
        Ok(listener)
    }

    /// `None` when nobody wants to hear any more.
    async fn hear(&self, mut listener: PgListener) -> Option<()> {
        // What was notified before LISTEN took hold was not heard.
        self.heard.send(Heard::Reconnected).await.ok()?;
        let mut pieces = Pieces::default();
        loop {
            // `recv` would reconnect without a word, and hide what was missed meanwhile.
            match listener.try_recv().await {
                Ok(Some(notification)) if notification.channel() == broadcast::CHANNEL => {
                    if let Some(broadcast) = pieces.take(&self.own, notification.payload()) {
                        self.heard.send(Heard::Broadcast(broadcast)).await.ok()?;
                    }
                }
                Ok(Some(notification)) => self.notified(notification.payload()).await?,
                Ok(None) => {
                    self.shared.unheard();
                    self.heard.send(Heard::Reconnected).await.ok()?;
                }
                Err(error) => {
                    warn!(%error, "The listening connection was lost");
                    self.shared.unheard();
                    return Some(());
                }
            }
        }
    }

    async fn notified(&self, payload: &str) -> Option<()> {
        match payload.split_once(' ') {
            Some(("ping", whose)) if whose == self.own => {
                self.pinged.store(true, Ordering::Relaxed);
                self.shared.heard();
            }
            Some(("ping", _)) => {}
            // Our own appends come in memory.
            Some((_, epoch)) if epoch == self.own => {}
            Some((head, _)) => {
                if let Ok(head) = head.parse() {
                    self.heard.send(Heard::Head(Position(head))).await.ok()?;
                }
            }
            None => {}
        }
        Some(())
    }
}
