//! Runs one compiled script on the calling thread, within its limits.

mod data;
mod input;

pub use data::{Data, DataError, KvPage};
pub use input::{Ended, Input, PrincipalInfo, Report};
