//! Runs that wait for runs of their own platform.

use std::sync::{Arc, mpsc::channel};

use picloud_core::id::AppId;
use picloud_workers::pool::{MAX_HOPS, Pool, Settings};

use crate::{heard, join, pool, settings};

/// A run that calls the next and waits for it, down to the last hop.
fn call(pool: &Arc<Pool>, app: AppId, hop: u8) -> std::sync::mpsc::Receiver<u8> {
    let (answer, answered) = channel();
    let again = Arc::clone(pool);
    pool.submit_nested(app, hop, move |permit| {
        let depth = if hop < MAX_HOPS {
            let inner = call(&again, app, hop + 1);
            permit.wait(|| heard(&inner))
        } else {
            hop
        };
        drop(again);
        let _ = answer.send(depth);
    })
    .expect("taken");
    answered
}

#[test]
fn runs_that_call_each_other_down_to_the_last_hop_cannot_block_each_other() {
    for settings in [Settings { app_running: 4, ..settings() }, Settings { max_threads: 4, ..settings() }] {
        let pool = Arc::new(pool(settings));
        let app = AppId::generate();
        // Many more chains than may run at once: each needs nine runs at the same time.
        let chains: Vec<_> = (0..40).map(|_| call(&pool, app, 0)).collect();
        for chain in chains {
            assert_eq!(heard(&chain), MAX_HOPS);
        }
        join(&pool);
    }
}
