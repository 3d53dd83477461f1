//! Registers native functions with their documentation: one line is the signature, one the sentence.

use rhai::{FuncRegistration, Module, RhaiNativeFunc, Variant};
use serde::Serialize;

/// A function that scripts can call, as the reference shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionDoc {
    /// The module before `::`; empty for methods and operators.
    pub module: &'static str,
    /// The name.
    pub name: String,
    /// How many arguments it takes; a method's object is the first.
    pub arguments: usize,
    /// Like `get(collection: Collection, key: string) -> ?`.
    pub signature: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// A module in the making.
pub(super) struct Registry {
    name: &'static str,
    module: Module,
    docs: Vec<FunctionDoc>,
}

impl Registry {
    /// A namespace such as `json`; an empty name makes the functions methods and operators.
    pub(super) fn new(name: &'static str) -> Self {
        let mut module = Module::new();
        if !name.is_empty() {
            module.set_id(name);
        }
        Self { name, module, docs: Vec::new() }
    }

    /// Adds a function that leaves its first argument as it is.
    pub(super) fn add<A: 'static, const N: usize, const X: bool, R, const F: bool>(
        &mut self,
        signature: &'static str,
        doc: &'static str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self
    where
        R: Variant + Clone,
    {
        self.register(signature, doc, true, function)
    }

    /// Adds a method that changes its object: refused on constants.
    pub(super) fn add_changing<A: 'static, const N: usize, const X: bool, R, const F: bool>(
        &mut self,
        signature: &'static str,
        doc: &'static str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self
    where
        R: Variant + Clone,
    {
        self.register(signature, doc, false, function)
    }

    fn register<A: 'static, const N: usize, const X: bool, R, const F: bool>(
        &mut self,
        signature: &'static str,
        doc: &'static str,
        pure: bool,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self
    where
        R: Variant + Clone,
    {
        let parts = Parts::of(signature);
        FuncRegistration::new(parts.name)
            .in_internal_namespace()
            .with_purity(pure)
            // Nothing is worked out while a script is compiled: it would be outside every limit.
            .with_volatility(true)
            .with_params_info(parts.parameters.iter().copied().chain([parts.result]))
            .with_comments([format!("/// {doc}")])
            .set_into_module(&mut self.module, function);
        self.docs.push(FunctionDoc {
            module: self.name,
            name: parts.name.to_owned(),
            arguments: parts.parameters.len(),
            signature,
            doc,
        });
        self
    }

    /// The finished module and what is in it.
    pub(super) fn finish(mut self) -> (&'static str, Module, Vec<FunctionDoc>) {
        self.module.build_index();
        (self.name, self.module, self.docs)
    }
}

struct Parts {
    name: &'static str,
    parameters: Vec<&'static str>,
    result: &'static str,
}

impl Parts {
    fn of(signature: &'static str) -> Self {
        let (call, result) = signature.split_once(" -> ").unwrap_or((signature, "()"));
        let (name, parameters) = call.split_once('(').expect("a signature has its parameters in parentheses");
        let parameters = parameters.trim_end_matches(')');
        Self { name, parameters: parameters.split(", ").filter(|parameter| !parameter.is_empty()).collect(), result }
    }
}
