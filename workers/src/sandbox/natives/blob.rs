//! Functions of blobs that make or grow them.

use rhai::{Array, Blob, Dynamic, EvalAltResult, INT};

use crate::sandbox::{meter, registry::Registry};

type Refused = Box<EvalAltResult>;

pub(super) fn register(registry: &mut Registry) {
    registry
        .add("blob(len: int) -> blob", "A blob of so many zeros.", |len: INT| filled(len, 0))
        .add("blob(len: int, value: int) -> blob", "A blob of so many bytes of one value.", filled)
        .add_changing(
            "pad(blob: blob, len: int, value: int)",
            "Adds bytes of one value until the blob is so long.",
            |blob: &mut Blob, len: INT, value: INT| {
                let Ok(len) = usize::try_from(len) else { return Ok(()) };
                meter::string_fits(len)?;
                meter::spend(len.saturating_sub(blob.len()))?;
                if len > blob.len() {
                    blob.resize(len, byte(value));
                }
                Ok::<_, Refused>(())
            },
        )
        .add("to_array(blob: blob) -> array", "The bytes as ints.", |blob: &mut Blob| {
            meter::array_fits(blob.len())?;
            meter::spend(blob.len() * size_of::<Dynamic>())?;
            Ok::<Array, Refused>(blob.iter().map(|byte| Dynamic::from_int(INT::from(*byte))).collect())
        });
}

fn filled(len: INT, value: INT) -> Result<Blob, Refused> {
    let len = usize::try_from(len).unwrap_or(0);
    meter::string_fits(len)?;
    meter::spend(len)?;
    Ok(vec![byte(value); len])
}

/// The lowest eight bits, as everywhere in the language.
const fn byte(value: INT) -> u8 {
    value.to_le_bytes()[0]
}
