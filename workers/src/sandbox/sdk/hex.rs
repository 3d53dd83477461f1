//! `hex::`: bytes as pairs of hexadecimal digits.

use rhai::{Blob, EvalAltResult};

use crate::sandbox::{current::thrown, meter, registry::Registry};

type Refused = Box<EvalAltResult>;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    const ENCODE: &str = "The bytes (or the string's UTF-8) as lower-case hexadecimal digits.";
    registry
        .add("encode(bytes: blob) -> string", ENCODE, |bytes: Blob| encode(&bytes))
        .add("encode(text: string) -> string", ENCODE, |text: &str| encode(text.as_bytes()))
        .add("decode(text: string) -> blob", "The bytes of hexadecimal digits, in either case.", |text: &str| {
            meter::spend(text.len())?;
            hex::decode(text).map_err(|error| thrown(format!("hex::decode: this is not hexadecimal: {error}")))
        });
}

fn encode(bytes: &[u8]) -> Result<String, Refused> {
    meter::string_fits(bytes.len() * 2)?;
    meter::spend(bytes.len())?;
    Ok(hex::encode(bytes))
}
