//! Second factors: codes of an authenticator (RFC 6238), and recovery codes for when it is lost.

use picloud_core::id::AccountId;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq as _;
use totp_rs::{Builder, Totp};

/// 160 bits, as RFC 4226 recommends.
const SEED_BYTES: usize = 20;

/// How many recovery codes there are.
const CODES: usize = 10;

/// The letters of recovery codes: none that look alike.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// An authenticator.
#[derive(Debug)]
pub struct Factor(Totp);

impl Factor {
    /// A fresh one, for somebody on an instance.
    #[must_use]
    pub fn generate(email: &str, instance: &str) -> Self {
        let mut seed = [0_u8; SEED_BYTES];
        getrandom::fill(&mut seed).expect("the operating system hands out random bytes");
        Self::build(&seed, &email.replace(':', " "), &instance.replace(':', " "))
    }

    /// One whose seed was stored.
    #[must_use]
    pub fn of(seed: &[u8]) -> Self {
        Self::build(seed, "picloud", "PiCloud")
    }

    fn build(seed: &[u8], email: &str, instance: &str) -> Self {
        let totp = Builder::new().with_secret(seed.to_vec()).with_account_name(email).with_issuer(Some(instance));
        Self(totp.build_noncompliant())
    }

    /// The seed, to be stored.
    #[must_use]
    pub fn seed(&self) -> &[u8] {
        self.0.secret().as_ref()
    }

    /// The seed as people type it.
    #[must_use]
    pub fn base32(&self) -> String {
        self.0.secret().to_base32()
    }

    /// The seed as a QR code says it: `otpauth://totp/…`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.to_url().unwrap_or_default()
    }

    /// The step at which a code is right, one step of 30 s before and after allowed.
    #[must_use]
    pub fn check(&self, code: &str, now_s: u64) -> Option<u64> {
        let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        if is_code { self.0.check(code, now_s) } else { None }
    }

    /// The code at a time, for whoever plays the authenticator.
    #[must_use]
    pub fn code(&self, now_s: u64) -> String {
        self.0.generate(now_s).to_string()
    }
}

/// Takes a step for an account: none is taken twice, nor one before it (RFC 6238 §5.2), whichever node is asked.
///
/// # Errors
/// When the database cannot be asked.
pub async fn take_step(pool: &PgPool, account: AccountId, step: u64) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "insert into live.totp_step (account_id, step) values ($1, $2)
        on conflict (account_id) do update set step = excluded.step where totp_step.step < excluded.step",
        account.uuid(),
        i64::try_from(step).unwrap_or(i64::MAX)
    )
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Codes that stand in for the authenticator, each once. 50 bits each: worth guessing by nobody who is counted.
#[derive(Debug)]
pub struct RecoveryCodes(Vec<String>);

impl RecoveryCodes {
    /// Fresh ones.
    #[must_use]
    pub fn generate() -> Self {
        let code = || {
            let mut random = [0_u8; 10];
            getrandom::fill(&mut random).expect("the operating system hands out random bytes");
            let letters: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
            format!("{}-{}", &letters[..5], &letters[5..])
        };
        Self((0..CODES).map(|_| code()).collect())
    }

    /// To be shown once.
    #[must_use]
    pub fn codes(&self) -> &[String] {
        &self.0
    }

    /// Their hashes one after another, to be stored.
    #[must_use]
    pub fn hashes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|code| hash(code)).collect()
    }

    /// Which of the stored codes this is, if it is one that was not used.
    #[must_use]
    pub fn find(hashes: &[u8], used: &[u8], code: &str) -> Option<u8> {
        let wanted = hash(code);
        let found = hashes.chunks(32).position(|stored| bool::from(stored.ct_eq(&wanted)))?;
        u8::try_from(found).ok().filter(|found| !used.contains(found))
    }
}

/// As people type it: case, blanks and the dash do not matter.
fn hash(code: &str) -> [u8; 32] {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Sha256::new().chain_update(b"picloud recovery code").chain_update(plain).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of eight digits.
        let factor = Factor::of(b"12345678901234567890");
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(factor.code(at), code);
            assert_eq!(factor.check(code, at), Some(at / 30));
            assert_eq!(factor.check(code, at + 30), Some(at / 30), "a clock may be a step late");
            assert_eq!(factor.check(code, at + 61), None);
        }
        for wrong in ["", "28708", "2870820", "28708x", "287 082"] {
            assert_eq!(factor.check(wrong, 59), None, "{wrong}");
        }
    }

    #[test]
    fn an_authenticator_is_told_who_and_where() {
        let factor = Factor::generate("ada@example.com", "pi:cloud");
        let url = factor.url();
        assert!(url.starts_with("otpauth://totp/"), "{url}");
        assert!(url.contains(&factor.base32()) && url.contains("ada%40example.com"), "{url}");
    }

    #[test]
    fn a_recovery_code_is_found_however_it_is_typed_and_once() {
        let codes = RecoveryCodes::generate();
        assert_eq!(codes.codes().len(), 10);
        let hashes = codes.hashes();
        let third = &codes.codes()[3];
        assert_eq!(RecoveryCodes::find(&hashes, &[], &third.to_uppercase().replace('-', " ")), Some(3));
        assert_eq!(RecoveryCodes::find(&hashes, &[3], third), None);
        assert_eq!(RecoveryCodes::find(&hashes, &[], "aaaaa-aaaaa"), None);
    }
}
