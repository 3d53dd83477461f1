//! `crypto::`: digests, signatures and webhooks by the Standard Webhooks specification.

use ::base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rhai::{Blob, Dynamic, EvalAltResult, Map};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::sandbox::{
    current::{thrown, with},
    meter,
    registry::Registry,
    value::{Kind, kind_name},
};

type Refused = Box<EvalAltResult>;

/// How far a webhook's timestamp may be from the run's clock.
const TOLERANCE_S: i64 = 5 * 60;
/// A digest's work for each byte.
const WORK_PER_BYTE: usize = 4;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add("sha256(data: ?) -> blob", "The SHA-256 digest of a string or blob: see hex::encode.", |data: Dynamic| {
            let data = bytes("crypto::sha256", "data", &data)?;
            meter::spend(data.len() * WORK_PER_BYTE)?;
            Ok::<Blob, Refused>(Sha256::digest(&data).to_vec())
        })
        .add(
            "hmac_sha256(key: ?, data: ?) -> blob",
            "The HMAC-SHA-256 of a string or blob under a key.",
            |key: Dynamic, data: Dynamic| {
                let key = bytes("crypto::hmac_sha256", "key", &key)?;
                let data = bytes("crypto::hmac_sha256", "data", &data)?;
                hmac(&key, &[&data])
            },
        )
        .add(
            "equal(a: ?, b: ?) -> bool",
            "Whether two strings or blobs are equal, in a time that tells nothing about where they differ.",
            |a: Dynamic, b: Dynamic| {
                let (a, b) = (bytes("crypto::equal", "a", &a)?, bytes("crypto::equal", "b", &b)?);
                meter::spend(a.len())?;
                Ok::<bool, Refused>(a.ct_eq(&b).into())
            },
        )
        .add(
            "verify_webhook(secret: string, headers: map, body: ?) -> bool",
            "Whether a Standard Webhooks request is genuine and at most five minutes old: \
             crypto::verify_webhook(secret, ctx.request.headers, ctx.request.body_raw).",
            verify_webhook,
        );
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<Blob, Refused> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        meter::spend(part.len() * WORK_PER_BYTE)?;
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

fn verify_webhook(secret: &str, headers: Map, body: Dynamic) -> Result<bool, Refused> {
    let call = "crypto::verify_webhook";
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
        .map_err(|_| thrown(format!("{call}: the secret is no base64 after `whsec_`")))?;
    let body = bytes(call, "body", &body)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.clone().into_string().ok());
    let (Some(id), Some(timestamp), Some(signatures)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return Ok(false);
    };
    let now_s = with(|run| run.input.now.timestamp())?;
    if !timestamp.parse::<i64>().is_ok_and(|at_s| at_s.abs_diff(now_s) <= TOLERANCE_S.unsigned_abs()) {
        return Ok(false);
    }
    let wanted = hmac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &body])?;
    // Several signatures while a secret is being changed; only those of version 1 are ours to check.
    let genuine = signatures
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|given| bool::from(given.ct_eq(&wanted)));
    Ok(genuine)
}

fn bytes(call: &str, name: &str, value: &Dynamic) -> Result<Vec<u8>, Refused> {
    match Kind::of(value) {
        Kind::Text => Ok(value.clone().into_string().unwrap_or_default().into_bytes()),
        Kind::Blob => Ok(value.clone().into_blob().unwrap_or_default()),
        Kind::Unit if name == "body" => Ok(Vec::new()),
        _ => Err(thrown(format!("{call}: `{name}` is {}: it must be a string or a blob", kind_name(value)))),
    }
}
