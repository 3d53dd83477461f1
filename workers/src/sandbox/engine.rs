//! The interpreter, set up once: shared modules, and one cheap engine for each pair of depths in use.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parking_lot::Mutex;
use picloud_core::{limits::Limits, run::LogLevel};
use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Module, ModuleResolver, Position, Shared, Token};

use super::{
    context, current, memory, meter, natives,
    registry::FunctionDoc,
    sdk::{self, log},
    value::{Misfit, inspect},
};

/// How many engines are kept: instances rarely allow more than a few pairs of depths.
const ENGINES: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");
/// One access of a variable in so many is a look at its value.
const ACCESSES_BETWEEN_LOOKS: u32 = 16;
/// How many values inside one are looked at: enough for the deepest allowed nesting.
const VALUES_PER_LOOK: usize = 200;

/// What a script is told that imports.
pub(super) const NO_MODULES: &str = "modules are not there yet: put the functions into this script";

/// Everything that scripts can call.
pub(super) struct Library {
    packages: Shared<Module>,
    replacements: Shared<Module>,
    methods: Shared<Module>,
    namespaces: Vec<(&'static str, Shared<Module>)>,
    /// Our own functions, replacements of the language's included.
    pub(super) docs: Vec<FunctionDoc>,
    engines: Mutex<LruCache<(usize, usize), Arc<Engine>>>,
}

impl Library {
    pub(super) fn new() -> Self {
        let (replacements, mut docs) = natives::replacements();
        let (methods, method_docs) = sdk::methods();
        docs.extend(method_docs);
        let mut namespaces = Vec::new();
        for namespace in sdk::namespaces() {
            docs.extend(namespace.docs);
            namespaces.push((namespace.name, namespace.module.into()));
        }
        Self {
            packages: natives::packages().into(),
            replacements: replacements.into(),
            methods: methods.into(),
            namespaces,
            docs,
            engines: Mutex::new(LruCache::new(ENGINES)),
        }
    }

    /// The engine for these limits: only the two depths are the interpreter's own, the rest is ours to check.
    pub(super) fn engine(&self, limits: &Limits) -> Arc<Engine> {
        let depths = (limits.max_call_depth, limits.max_expr_depth);
        Arc::clone(self.engines.lock().get_or_insert(depths, || Arc::new(self.build(depths))))
    }

    /// An engine of one's own, to be changed.
    pub(super) fn fresh(&self, limits: &Limits) -> Engine {
        self.build((limits.max_call_depth, limits.max_expr_depth))
    }

    fn build(&self, (call_depth, expr_depth): (usize, usize)) -> Engine {
        let mut engine = Engine::new_raw();
        engine.register_global_module(Shared::clone(&self.packages));
        // The later registered is asked first.
        engine.register_global_module(Shared::clone(&self.replacements));
        engine.register_global_module(Shared::clone(&self.methods));
        for (name, module) in &self.namespaces {
            engine.register_static_module(name, Shared::clone(module));
        }
        engine.disable_symbol("eval");
        engine.set_module_resolver(NoModules);
        engine.set_max_call_levels(call_depth);
        engine.set_max_expr_depths(expr_depth, expr_depth);
        engine.on_progress(meter::step);
        engine.on_print(print);
        engine.on_debug(|text, _, _| print(text));
        #[expect(deprecated, reason = "marked as volatile, not as deprecated; a test holds what we need of it")]
        engine.on_var(|name, _, context| variable(name, context));
        #[expect(deprecated, reason = "marked as volatile, not as deprecated; a test holds what we need of it")]
        engine.on_parse_token(|token, _, _| match token {
            // `ulid::new` is ours; the language only keeps the word for later.
            Token::Reserved(word) if word.as_str() == "new" => Token::Identifier(word),
            token => token,
        });
        #[expect(deprecated, reason = "marked as volatile, not as deprecated; a test holds what we need of it")]
        engine.on_def_var(|_, variable, _| Ok(variable.name() != "ctx"));
        engine
    }
}

fn print(text: &str) {
    // A line that cannot be kept is no reason to fail; whether the run is over is found at its next step.
    let _ = log::write(LogLevel::Info, &text.into(), None);
}

/// Answers `ctx`, remembers the cells of closures, and looks at values now and then.
fn variable(
    name: &str,
    mut context: EvalContext<'_, '_, '_, '_, '_, '_>,
) -> Result<Option<Dynamic>, Box<EvalAltResult>> {
    if name == "ctx" {
        return Ok(Some(current::with(|run| match &run.context {
            Some(context) => context.clone(),
            None => memory::unwatched(|| {
                let built = context::build(run);
                run.context.insert(built).clone()
            }),
        })?));
    }
    let seen = current::with(|run| {
        let is_captured = !run.captured.is_empty() && run.captured.iter().any(|known| **known == *name);
        let constant = if is_captured { run.cells.share(context.scope_mut(), name) } else { None };
        // Not every sixteenth: a loop over sixteen variables would show the same one for ever.
        run.accesses = run.accesses.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (constant, (run.accesses >> 16).is_multiple_of(ACCESSES_BETWEEN_LOOKS))
    });
    let look = match seen {
        Ok((None, look)) => look,
        Ok((constant, _)) => return Ok(constant),
        // Outside a run (what the compiler works out beforehand) there is nothing to watch.
        Err(_) => return Ok(None),
    };
    if look
        && let Some(value) = context.scope().get(name)
        && let Some(misfit) = inspect(value, &meter::limits(), VALUES_PER_LOOK)
    {
        return Err(refuse(misfit));
    }
    Ok(None)
}

#[cold]
fn refuse(misfit: Misfit) -> Box<EvalAltResult> {
    let limits = meter::limits();
    let refused = match misfit {
        Misfit::String => meter::string_fits(limits.max_string_bytes + 1),
        Misfit::Array => meter::array_fits(limits.max_array_len + 1),
        Misfit::Map => meter::map_fits(limits.max_map_len + 1),
        Misfit::Depth => return meter::end(meter::too_deep()),
    };
    refused.err().unwrap_or_else(|| meter::end(meter::too_deep()))
}

struct NoModules;

impl ModuleResolver for NoModules {
    fn resolve(
        &self,
        _engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let path: String = path.chars().take(100).collect();
        Err(EvalAltResult::ErrorRuntime(format!("cannot import `{path}`: {NO_MODULES}").into(), position).into())
    }
}
