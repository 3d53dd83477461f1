//! Scripts, compiled once for each version.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

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
        if let Some(known) = self.programs.lock().recent.get(&program.version) {
            return Ok(Arc::clone(known));
        }
        // Not under the lock: two threads may compile the same version, and one of them in vain.
        let engine = library.engine(&program.limits);
        let ast = engine.compile(&*program.source)?;
        let compiled = Arc::new(Compiled { captured: captured(&ast), ast, engine, source_bytes: program.source.len() });
        self.programs.lock().keep(program.version, Arc::clone(&compiled));
        Ok(compiled)
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
