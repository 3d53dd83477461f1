//! Values that leave the script that made them.

use rhai::{Array, Dynamic, EvalAltResult, Map};

use super::Kind;
use crate::sandbox::{current::thrown, meter};

/// Why a value cannot leave its script.
pub enum Attached {
    /// There is a function in it, at this place.
    Function(String),
    /// The run is over.
    Over(Box<EvalAltResult>),
}

impl Attached {
    /// As an error of a call; `what` names the value.
    pub fn of(self, what: impl FnOnce() -> String) -> Box<EvalAltResult> {
        match self {
            Self::Function(path) if path.is_empty() => {
                thrown(format!("{} is a function: it stays in its script", what()))
            }
            Self::Function(path) => {
                thrown(format!("{} has a function at `{path}`: functions stay in their script", what()))
            }
            Self::Over(error) => error,
        }
    }
}

/// The same value without anything of the script that made it: no functions, and no cells that its closures share.
pub fn detached(value: &Dynamic) -> Result<Dynamic, Attached> {
    copy(value, meter::limits().max_value_depth)
}

fn copy(value: &Dynamic, depth: usize) -> Result<Dynamic, Attached> {
    meter::spend(size_of::<Dynamic>()).map_err(Attached::Over)?;
    match Kind::of(value) {
        Kind::Function => Err(Attached::Function(String::new())),
        Kind::Array => {
            let depth = deeper(depth)?;
            let Some(array) = value.read_lock::<Array>() else { return Ok(Dynamic::UNIT) };
            let items = array.iter().enumerate();
            let items = items.map(|(n, item)| copy(item, depth).map_err(|error| error.inside(|| format!("[{n}]"))));
            Ok(Dynamic::from_array(items.collect::<Result<_, _>>()?))
        }
        Kind::Map => {
            let depth = deeper(depth)?;
            let Some(map) = value.read_lock::<Map>() else { return Ok(Dynamic::UNIT) };
            let entries = map.iter().map(|(name, item)| {
                let item = copy(item, depth).map_err(|error| error.inside(|| format!(".{name}")))?;
                Ok((name.clone(), item))
            });
            Ok(Dynamic::from_map(entries.collect::<Result<_, _>>()?))
        }
        Kind::Blob => {
            let blob = value.clone_cast::<rhai::Blob>();
            meter::spend(blob.len()).map_err(Attached::Over)?;
            Ok(Dynamic::from_blob(blob))
        }
        Kind::Unit | Kind::Bool | Kind::Int | Kind::Float | Kind::Char | Kind::Text | Kind::Other => {
            Ok(value.flatten_clone())
        }
    }
}

fn deeper(depth: usize) -> Result<usize, Attached> {
    depth.checked_sub(1).ok_or_else(|| Attached::Over(meter::end(meter::too_deep())))
}

impl Attached {
    fn inside(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Function(path) => Self::Function(format!("{}{path}", place())),
            over @ Self::Over(_) => over,
        }
    }
}
