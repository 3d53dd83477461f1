//! Seals: what proves that the log is as it was written.
//!
//! Every event has a [`Leaf`], the hash of all that is stored of it. The leaves of a stretch of the log, a class at a time, are
//! those of a Merkle [`tree`], whose root a [`Seal`] holds together with the hash of the seal before it; and the seal is signed.
//! So one seal that somebody kept elsewhere, an anchor, vouches for everything up to it: nothing can be changed, taken out or
//! put in between without another hash in it.
//!
//! Roots are a class each, for the classes are kept for different times: what is left can be proved when the rest is dropped.

mod hash;
mod key;
mod leaf;
mod proof;
mod statement;
pub mod tree;

pub use hash::Hash;
pub use key::{InvalidKey, PublicKey, SealKey};
pub use leaf::{Leaf, Mark};
pub use proof::{InvalidProof, Proof, ProvedEvent};
pub use statement::{BadSignature, ClassRoot, Seal};
