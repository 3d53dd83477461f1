//! How a run's app is set up, from memory.

use std::sync::Arc;

use picloud_projections::setup::App;

use super::source::Database;
use crate::effects::Setup;

impl Database {
    /// The app as it is now; none when it is gone, or so new that this node has not heard of it.
    fn home(&self) -> Option<Arc<App>> {
        self.outside.inner.parts.setup.get().apps.get(&self.app).map(Arc::clone)
    }
}

impl Setup for Database {
    fn has_consumer(&self, queue: &str) -> bool {
        self.home().is_some_and(|app| app.has_consumer(queue))
    }
}
