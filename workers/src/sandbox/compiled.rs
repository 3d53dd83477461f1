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
    /// How late its short runs were of late.
    lateness: AtomicU32,
}

/// After a run that was too long to be a short one, so many are not tried: what that wastes is then lost in the noise.
const LONG_RUNS: u32 = 1024;

/// What a short run that was not over in time adds to the lateness, of which each that is tried takes one away; and how much of
/// it says that the script is slow. Now and then the processor is taken from a thread in the middle of a run.
const LATE: u32 = 64;
const TOO_LATE: u32 = LATE * 3 / 2;

impl Compiled {
    /// Whether the next run may well be a short one. Counts it if not.
    pub(super) fn may_be_short(&self) -> bool {
        let less = |runs: u32| runs.checked_sub(1);
        let may_be = self.long_runs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err();
        if may_be && self.lateness.load(Ordering::Relaxed) > 0 {
            let _ = self.lateness.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        may_be
    }

    /// A run was not over in time to be a short one: it is long, or its thread was kept from the processor.
    pub(super) fn was_late(&self) {
        if self.lateness.fetch_add(LATE, Ordering::Relaxed) >= TOO_LATE {
            self.lateness.store(0, Ordering::Relaxed);
            self.was_long();
        }
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
            lateness: AtomicU32::new(0),
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

#[cfg(test)]
mod tests {
    use picloud_core::{limits::Limits, run::Program};

    use super::*;

    fn compiled() -> Arc<Compiled> {
        let program = Program {
            app: picloud_core::id::AppId::generate(),
            app_slug: "shop".into(),
            script: picloud_core::id::ScriptId::generate(),
            name: "script".into(),
            version: VersionId::generate(),
            number: 1,
            source: "1".into(),
            limits: Limits::DEFAULT,
            env: Arc::default(),
        };
        Cache::new().get(&Library::new(), &program).expect("it compiles")
    }

    #[test]
    fn a_thread_that_is_kept_from_its_processor_now_and_then_makes_no_script_long() {
        let compiled = compiled();
        for _ in 0..100 {
            compiled.was_late();
            assert!((0..LATE).all(|_| compiled.may_be_short()));
        }
    }

    #[test]
    fn a_script_that_is_late_again_and_again_is_long_for_a_while() {
        let compiled = compiled();
        let late = (0..).take_while(|_| compiled.may_be_short()).inspect(|_| compiled.was_late()).count();
        assert_eq!(late, 3);
        assert_eq!((0..).take_while(|_| !compiled.may_be_short()).count() as u32, LONG_RUNS - 1);
        compiled.was_long();
        assert!(!compiled.may_be_short());
    }
}
