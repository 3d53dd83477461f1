//! Work that is owed, under whatever goes wrong: nodes killed and stopped, connections cut, PostgreSQL killed, items
//! cancelled, queues paused; all by chance, from a seed that a failure names.
//!
//! `PICLOUD_FAULT_ROUNDS` is how many faults there are, `PICLOUD_FAULT_SEED` makes the same ones again (as far as what runs
//! beside them goes the same way). Hundreds of them take `--profile long`: about a second each.

mod dice;
mod listening;
mod nodes;
mod truth;
mod world;

use dice::Dice;
use world::{Fault, World};

/// As many as a run of all tests has time for.
const ROUNDS: usize = 8;

/// After so many faults all is left to come to its end, and is looked at.
const ROUNDS_A_BATCH: usize = 25;

#[tokio::test]
async fn whatever_goes_wrong_every_item_ends_once_its_effects_are_there_once_and_keys_keep_their_order() {
    let rounds = number("PICLOUD_FAULT_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).expect("not so many"));
    let seed = number("PICLOUD_FAULT_SEED").unwrap_or_else(Dice::any_seed);
    // Shown when the test fails.
    println!("PICLOUD_FAULT_SEED={seed} PICLOUD_FAULT_ROUNDS={rounds}");
    let mut dice = Dice::new(seed);
    let mut world = World::new().await;
    let mut batch = world.begin_batch().await;
    for round in 1..=rounds {
        let fault = Fault::by_chance(&mut dice);
        println!("round {round}: {fault:?}");
        world.round(&mut dice, &mut batch, fault).await;
        if round % ROUNDS_A_BATCH == 0 || round == rounds {
            world.end_batch(batch).await;
            batch = world.begin_batch().await;
        }
    }
    world.stop().await;
}

/// A number that the environment says.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
