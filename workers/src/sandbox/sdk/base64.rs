//! `base64::`: bytes as text in the standard and the URL alphabet.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use rhai::{Blob, EvalAltResult};

use crate::sandbox::{current::thrown, memory, meter, registry::Registry};

type Refused = Box<EvalAltResult>;

const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    const ENCODE: &str = "The bytes (or the string's UTF-8) in base64, with padding.";
    const ENCODE_URL: &str = "The bytes (or the string's UTF-8) in the alphabet for URLs, without padding.";
    registry
        .add("encode(bytes: blob) -> string", ENCODE, |bytes: Blob| encode(&general_purpose::STANDARD, &bytes))
        .add("encode(text: string) -> string", ENCODE, |text: &str| encode(&general_purpose::STANDARD, text.as_bytes()))
        .add("encode_url(bytes: blob) -> string", ENCODE_URL, |bytes: Blob| {
            encode(&general_purpose::URL_SAFE_NO_PAD, &bytes)
        })
        .add("encode_url(text: string) -> string", ENCODE_URL, |text: &str| {
            encode(&general_purpose::URL_SAFE_NO_PAD, text.as_bytes())
        })
        .add("decode(text: string) -> blob", "The bytes of a base64 text, with or without padding.", |text: &str| {
            decode("base64::decode", &STANDARD, text)
        })
        .add(
            "decode_url(text: string) -> blob",
            "The bytes of a base64 text in the alphabet for URLs, with or without padding.",
            |text: &str| decode("base64::decode_url", &URL, text),
        );
}

fn encode(engine: &GeneralPurpose, bytes: &[u8]) -> Result<String, Refused> {
    meter::string_fits(bytes.len().div_ceil(3) * 4)?;
    meter::spend(bytes.len())?;
    Ok(memory::unwatched(|| engine.encode(bytes)))
}

fn decode(call: &str, engine: &GeneralPurpose, text: &str) -> Result<Blob, Refused> {
    meter::spend(text.len())?;
    engine.decode(text).map_err(|error| thrown(format!("{call}: this is not base64: {error}")))
}
