//! The language's own functions, as an allow-list.
//!
//! Whole packages of the interpreter are taken whose functions cost about what their arguments weigh; those that can
//! run long or grow without bound in one call are replaced here by ones that count their work. What is not taken
//! (files, clocks, `sleep`, `eval`, …) does not exist for scripts. A test holds the complete list.

mod array;
mod blob;
mod map;
mod print;
mod search;
mod sort;
mod text;

use rhai::{
    Module,
    packages::{
        ArithmeticPackage, BasicArrayPackage, BasicBlobPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
        BasicMathPackage, BasicStringPackage, BitFieldPackage, LogicPackage, MoreStringPackage, Package,
    },
};

use super::registry::{FunctionDoc, Registry};

/// The interpreter's packages that scripts get.
pub(super) fn packages() -> Module {
    let mut module = Module::new();
    ArithmeticPackage::init(&mut module);
    LogicPackage::init(&mut module);
    BasicMathPackage::init(&mut module);
    BitFieldPackage::init(&mut module);
    BasicStringPackage::init(&mut module);
    MoreStringPackage::init(&mut module);
    BasicIteratorPackage::init(&mut module);
    BasicArrayPackage::init(&mut module);
    BasicMapPackage::init(&mut module);
    BasicBlobPackage::init(&mut module);
    BasicFnPackage::init(&mut module);
    module.register_lazy_functions();
    module.build_index();
    module
}

/// What takes precedence over [`packages`].
pub(super) fn replacements() -> (Module, Vec<FunctionDoc>) {
    let mut registry = Registry::new("");
    array::register(&mut registry);
    sort::register(&mut registry);
    text::register(&mut registry);
    search::register(&mut registry);
    map::register(&mut registry);
    blob::register(&mut registry);
    print::register(&mut registry);
    let (_, module, docs) = registry.finish();
    (module, docs)
}
