//! What one run may use: a script's limits, each under the instance's ceiling.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, $ceiling:expr;)*) => {
        /// The limits of one script. Every field is a whole number in the unit its name ends in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Limits {
            /// What a script gets that asks for nothing.
            pub const DEFAULT: Self = Self { $($name: $default,)* };
            /// What an instance allows unless it is configured otherwise.
            pub const CEILING: Self = Self { $($name: $ceiling,)* };
            /// The names of all limits, as they stand in `picloud.toml` and JSON.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Refuses the first limit that is zero or over its ceiling.
            ///
            /// # Errors
            /// [`OverCeiling`] names the field, what was asked for and what is allowed.
            pub fn within(&self, ceiling: &Self) -> Result<(), OverCeiling> {
                $(if self.$name > ceiling.$name || self.$name == 0 {
                    return Err(OverCeiling {
                        field: stringify!($name),
                        asked: self.$name as u64,
                        allowed: ceiling.$name as u64,
                    });
                })*
                Ok(())
            }
        }
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

limits! {
    /// Wall clock, from the first instruction to the answer.
    timeout_ms: u64 = 10_000, 300_000;
    /// Steps of the interpreter.
    max_operations: u64 = 1_000_000, 10_000_000;
    /// What the run may hold allocated at any one time.
    max_memory_bytes: usize = 64 * MIB, 512 * MIB;
    /// One string or blob.
    max_string_bytes: usize = MIB, 8 * MIB;
    /// Items of one array.
    max_array_len: usize = 10_000, 100_000;
    /// Entries of one map.
    max_map_len: usize = 10_000, 100_000;
    /// How deep arrays and maps may nest.
    max_value_depth: usize = 64, 128;
    /// How deep functions may call.
    max_call_depth: usize = 64, 128;
    /// How deep an expression may nest.
    max_expr_depth: usize = 64, 128;
    /// The body of a request.
    max_request_bytes: usize = MIB, 32 * MIB;
    /// The body of a response.
    max_response_bytes: usize = 8 * MIB, 64 * MIB;
    /// All log lines of a run together.
    max_log_bytes: usize = 64 * KIB, MIB;
    /// Calls of `http::`.
    max_http_calls: usize = 50, 1_000;
    /// Reads of stored data; a listed item counts as one.
    max_reads: usize = 10_000, 100_000;
    /// Buffered writes.
    max_writes: usize = 1_000, 10_000;
    /// All that one run commits.
    max_commit_bytes: usize = 4 * MIB, 16 * MIB;
    /// The key of a kv entry.
    max_kv_key_bytes: usize = 512, KIB;
    /// The value of a kv entry, as JSON.
    max_kv_value_bytes: usize = 256 * KIB, MIB;
    /// A document, as JSON.
    max_doc_bytes: usize = 256 * KIB, MIB;
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A limit that is zero or higher than the instance allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit `{field}` is {asked}: allowed is 1 to {allowed}")]
pub struct OverCeiling {
    /// The limit's name.
    pub field: &'static str,
    /// What was asked for.
    pub asked: u64,
    /// The most that may be asked for.
    pub allowed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_the_ceiling() {
        assert_eq!(Limits::DEFAULT.within(&Limits::CEILING), Ok(()));
    }

    #[test]
    fn a_limit_over_its_ceiling_is_named_with_both_numbers() {
        let greedy = Limits { timeout_ms: 300_001, ..Limits::DEFAULT };
        assert_eq!(
            greedy.within(&Limits::CEILING).expect_err("over").to_string(),
            "limit `timeout_ms` is 300001: allowed is 1 to 300000"
        );
    }

    #[test]
    fn an_unknown_limit_is_refused() {
        let unknown = serde_json::from_str::<Limits>(r#"{"timeout": 1}"#).expect_err("unknown");
        assert!(unknown.to_string().contains("unknown field `timeout`"), "{unknown}");
    }
}
