//! Scripts, compiled once for each version.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use lru::LruCache;
use parking_lot::Mutex;
use picloud_core::{id::VersionId, run::Program};
use rhai::{AST, ASTNode, Engine, ParseError, Stmt};

use super::engine::Library;

const MAX_PROGRAMS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// What all compiled sources may weigh together; a compiled one takes some ten times its source.
const MAX_SOURCE_BYTES: usize = 8 * 1024 * 1024;

/// A script, ready to run.
pub(super) struct Compiled {
    pub ast: AST,
    pub engine: Arc<Engine>,
    /// The variables that its closures capture.
    pub captured: Arc<[Box<str>]>,
    source_bytes: usize,
    /// How many more runs are not tried as short ones.
    long_runs: AtomicU32,
}

/// After a run that was too long to be a short one, so many are not tried: what that wastes is then lost in the noise.
const LONG_RUNS: u32 = 1024;

impl Compiled {
    /// Whether the next run may well be a short one. Counts it if not.
    pub(super) fn may_be_short(&self) -> bool {
        let less = |runs: u32| runs.checked_sub(1);
        self.long_runs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }

    /// A run was too long to be a short one.
    pub(super) fn was_long(&self) {
        self.long_runs.store(LONG_RUNS, Ordering::Relaxed);
    }
}

/// The scripts that were compiled lately.
pub(super) struct Cache {
    programs: Mutex<Programs>,
}

struct Programs {
    recent: LruCache<VersionId, Arc<Compiled>>,
    source_bytes: usize,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { programs: Mutex::new(Programs { recent: LruCache::new(MAX_PROGRAMS), source_bytes: 0 }) }
    }

    /// The compiled program, compiling it when it is not there.
    pub(super) fn get(&self, library: &Library, program: &Program) -> Result<Arc<Compiled>, Box<ParseError>> {
        if let Some(known) = self.known(program.version) {
            return Ok(known);
        }
        // Not under the lock: two threads may compile the same version, and one of them in vain.
        let engine = library.engine(&program.limits);
        let ast = engine.compile(&*program.source)?;
        let compiled = Arc::new(Compiled {
            captured: captured(&ast),
            ast,
            engine,
            source_bytes: program.source.len(),
            long_runs: AtomicU32::new(0),
        });
        self.programs.lock().keep(program.version, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// A program that was compiled lately.
    pub(super) fn known(&self, version: VersionId) -> Option<Arc<Compiled>> {
        self.programs.lock().recent.get(&version).map(Arc::clone)
    }
}

impl Programs {
    fn keep(&mut self, version: VersionId, compiled: Arc<Compiled>) {
        self.source_bytes += compiled.source_bytes;
        if let Some((_, gone)) = self.recent.push(version, compiled) {
            self.source_bytes -= gone.source_bytes;
        }
        while self.source_bytes > MAX_SOURCE_BYTES && self.recent.len() > 1 {
            let Some((_, gone)) = self.recent.pop_lru() else { return };
            self.source_bytes -= gone.source_bytes;
        }
    }
}

fn captured(ast: &AST) -> Arc<[Box<str>]> {
    let mut names = BTreeSet::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Share(variables))) = path.last() {
            names.extend(variables.iter().map(|(variable, _)| Box::from(variable.as_str())));
        }
        true
    });
    names.into_iter().collect()
}
