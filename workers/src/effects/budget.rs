//! How much a run may read, write, commit and call.

use picloud_core::limits::Limits;

use crate::sandbox::DataError;

/// What a run has used up of its limits.
#[derive(Debug)]
pub(super) struct Budget {
    max_reads: usize,
    max_writes: usize,
    max_commit_bytes: usize,
    max_calls: usize,
    max_string_bytes: usize,
    max_memory_bytes: usize,
    reads: usize,
    writes: usize,
    commit_bytes: usize,
    calls: usize,
}

impl Budget {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            max_reads: limits.max_reads,
            max_writes: limits.max_writes,
            max_commit_bytes: limits.max_commit_bytes,
            max_calls: limits.max_http_calls,
            max_string_bytes: limits.max_string_bytes,
            max_memory_bytes: limits.max_memory_bytes,
            reads: 0,
            writes: 0,
            commit_bytes: 0,
            calls: 0,
        }
    }

    pub(super) const fn reads_left(&self) -> usize {
        self.max_reads.saturating_sub(self.reads)
    }

    pub(super) fn read(&mut self, rows: usize) -> Result<(), DataError> {
        self.reads += rows;
        within("max_reads", "reads of stored data", self.reads, self.max_reads)
    }

    /// One more call that writes; `before` and `after` are the bytes of the key's pending write.
    pub(super) fn write(&mut self, before: usize, after: usize) -> Result<(), DataError> {
        self.writes += 1;
        self.commit_bytes = self.commit_bytes + after - before;
        within("max_writes", "writes", self.writes, self.max_writes)?;
        within("max_commit_bytes", "bytes to commit", self.commit_bytes, self.max_commit_bytes)
    }

    /// One more call outside; says which one it is, from 1.
    pub(super) fn call(&mut self) -> Result<usize, DataError> {
        self.calls += 1;
        within("max_http_calls", "calls of `http`", self.calls, self.max_calls)?;
        Ok(self.calls)
    }

    /// How long an answer may be: it becomes one blob, and all answers stay until the run is over.
    pub(super) fn answer_room(&self, kept: usize) -> Result<usize, DataError> {
        within("max_memory_bytes", "bytes for answers to calls", kept, self.max_memory_bytes)?;
        Ok(self.max_string_bytes.min(self.max_memory_bytes - kept))
    }
}

fn within(name: &'static str, what: &str, used: usize, allowed: usize) -> Result<(), DataError> {
    if used <= allowed {
        return Ok(());
    }
    Err(DataError::Limit { name, message: format!("the run wants {used} {what}: `{name}` allows {allowed}") })
}
