//! Merkle trees as those of certificate transparency (RFC 9162, 2.1): the left side of a node has the greatest power of two
//! of leaves that leaves something for the right.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::Hash;

/// A tree while leaves are added at its end: the roots of the whole trees it is made of, the greatest first, each twice as
/// large as the next at least.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    count: u64,
    whole: Vec<Hash>,
}

impl Tree {
    /// Adds a leaf.
    pub fn add(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Every trailing one of the count is a whole tree as large as what was just made.
        for _ in 0..self.count.trailing_ones() {
            let left = self.whole.pop().expect("there is a tree for every one in the count");
            node = inner(left, node);
        }
        self.whole.push(node);
        self.count += 1;
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Its root; of no leaves, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let smallest_first = self.whole.iter().rev().copied();
        smallest_first.reduce(|right, left| inner(left, right)).unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }
}

/// Which way a node of a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It is the left of the two.
    Left,
    /// It is the right of the two.
    Right,
}

/// What a leaf is hashed with on the way to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Where the other node is.
    pub side: Side,
    /// The other node.
    #[schema(value_type = String)]
    pub hash: Hash,
}

/// The way from a leaf, counted from 0, to the root.
///
/// # Panics
/// When there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Vec<Step> {
    assert!(index < leaves.len(), "leaf {index} of {}", leaves.len());
    let mut path = Vec::new();
    let (mut part, mut index) = (leaves, index);
    while part.len() > 1 {
        let (left, right) = part.split_at(part.len().next_power_of_two() / 2);
        if index < left.len() {
            path.push(Step { side: Side::Right, hash: root(right) });
            part = left;
        } else {
            path.push(Step { side: Side::Left, hash: root(left) });
            index -= left.len();
            part = right;
        }
    }
    path.reverse();
    path
}

/// Where a way leads.
#[must_use]
pub fn follow(leaf: Hash, path: &[Step]) -> Hash {
    path.iter().fold(leaf, |node, step| match step.side {
        Side::Left => inner(step.hash, node),
        Side::Right => inner(node, step.hash),
    })
}

/// The root of all of these.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.add(*leaf));
    tree.root()
}

fn inner(left: Hash, right: Hash) -> Hash {
    let mut node = [1; 65];
    node[1..33].copy_from_slice(&left.0);
    node[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(node).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9162, 2.1.1, word for word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash(Sha256::digest([]).into()),
            [one] => *one,
            more => {
                let mut k = 1;
                while k * 2 < more.len() {
                    k *= 2;
                }
                let (left, right) = more.split_at(k);
                Hash(Sha256::digest([&[1], &defined(left).0[..], &defined(right).0[..]].concat()).into())
            }
        }
    }

    proptest! {
        #[test]
        fn a_root_is_as_it_is_defined_and_every_leaf_leads_to_it(seeds in prop::collection::vec(any::<[u8; 32]>(), 1..70)) {
            let leaves: Vec<Hash> = seeds.into_iter().map(Hash).collect();
            let root = root(&leaves);
            prop_assert_eq!(root, defined(&leaves));
            for (index, leaf) in leaves.iter().enumerate() {
                let mut path = path(&leaves, index);
                prop_assert_eq!(follow(*leaf, &path), root);
                prop_assert_ne!(follow(inner(*leaf, *leaf), &path), root);
                if let Some(step) = path.first_mut() {
                    step.hash.0[0] ^= 1;
                    prop_assert_ne!(follow(*leaf, &path), root);
                }
            }
        }
    }

    #[test]
    fn no_leaves_have_a_root_of_their_own() {
        assert_eq!(Tree::default().root(), defined(&[]));
    }
}
