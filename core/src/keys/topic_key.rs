//! Tokens of subscribers: JSON Web Tokens (RFC 7519), HS256 (RFC 7518 §3.2), under a key that each app has for them.

use std::{collections::HashSet, fmt, sync::LazyLock};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
    signature::{Error, Signer, Verifier},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    id::{AppId, SecretId},
    name,
    trigger::{Invalid, Pattern},
};

/// Signs and checks the tokens of an app's subscribers. Another one in its place makes all of them worthless.
pub struct TopicKey {
    id: SecretId,
    secret: Zeroizing<[u8; 32]>,
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What may be listened to.
    pub topics: Vec<Pattern>,
    /// For how long; to the second.
    pub expires_at: DateTime<Utc>,
}

/// A token that allows nothing: forged, of another app or key, or expired. Which of these is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

#[derive(Serialize, Deserialize)]
struct Claims {
    app: AppId,
    topics: Vec<Pattern>,
    /// Seconds since 1970.
    exp: i64,
}

impl TopicKey {
    /// A new one, known to nobody.
    #[must_use]
    pub fn generate() -> Self {
        Self { id: SecretId::generate(), secret: Zeroizing::new(rand::random()) }
    }

    pub(super) fn new(id: SecretId, secret: &[u8]) -> Option<Self> {
        Some(Self { id, secret: Zeroizing::new(secret.try_into().ok()?) })
    }

    pub(super) fn secret(&self) -> &[u8] {
        &*self.secret
    }

    /// Names it: `kid` in the header of its tokens.
    #[must_use]
    pub const fn id(&self) -> SecretId {
        self.id
    }

    /// The key that a token names; none when it is no token.
    #[must_use]
    pub fn named_by(token: &str) -> Option<SecretId> {
        jsonwebtoken::decode_header(token).ok()?.kid?.parse().ok()
    }

    /// A token for an app's topics.
    #[must_use]
    pub fn sign(&self, app: AppId, grant: &Grant) -> String {
        LazyLock::force(&HMAC);
        let header = Header { kid: Some(self.id.to_string()), ..Header::new(Algorithm::HS256) };
        let claims = Claims { app, topics: grant.topics.clone(), exp: grant.expires_at.timestamp() };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(self.secret())).expect("claims are plain data")
    }

    /// What a token allows on an app.
    ///
    /// # Errors
    /// [`InvalidToken`], for whatever reason.
    pub fn verify(&self, app: AppId, token: &str, now: DateTime<Utc>) -> Result<Grant, InvalidToken> {
        LazyLock::force(&HMAC);
        let mut validation = Validation::new(Algorithm::HS256);
        // Looked at below, by the clock that is given.
        validation.validate_exp = false;
        validation.required_spec_claims = HashSet::new();
        let read = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(self.secret()), &validation);
        let Claims { app: named, topics, exp } = read.map_err(|_| InvalidToken)?.claims;
        let expires_at = DateTime::from_timestamp(exp, 0).ok_or(InvalidToken)?;
        if named != app || expires_at <= now {
            return Err(InvalidToken);
        }
        Ok(Grant { topics, expires_at })
    }
}

impl Grant {
    /// The most topics that one token can be for.
    pub const MAX_TOPICS: usize = 100;
    /// The longest that a token is good, in seconds. Who needs one for longer gets a new one now and then.
    pub const MAX_TTL_S: i64 = 7 * 24 * 60 * 60;
    /// For how long it is good when nothing is said, in seconds.
    pub const USUAL_TTL_S: i64 = 60 * 60;

    /// A grant for topics, from now on for so many seconds.
    ///
    /// # Errors
    /// What cannot be, of `topics` or `ttl_s`.
    pub fn new(topics: Vec<String>, ttl_s: Option<i64>, now: DateTime<Utc>) -> Result<Self, Invalid> {
        let (many, most) = (topics.len(), Self::MAX_TOPICS);
        if many == 0 || many > most {
            let message = format!("`topics` names {many} topics: 1 to {most} are allowed");
            return Err(Invalid { field: "topics", message });
        }
        if let Some(topic) = topics.iter().find(|topic| !name::is_topic_pattern(topic)) {
            let shown: String = topic.chars().take(80).collect();
            return Err(Invalid { field: "topics", message: name::no_topic_pattern(&shown) });
        }
        let ttl_s = ttl_s.unwrap_or(Self::USUAL_TTL_S);
        if !(1..=Self::MAX_TTL_S).contains(&ttl_s) {
            let message = format!("`ttl_s` is {ttl_s}: 1 to {} are allowed", Self::MAX_TTL_S);
            return Err(Invalid { field: "ttl_s", message });
        }
        // Tokens know whole seconds.
        let expires_at = now.trunc_subsecs(0) + TimeDelta::seconds(ttl_s);
        Ok(Self { topics: topics.into_iter().map(Pattern::new).collect(), expires_at })
    }

    /// Whether it allows to listen to all that a pattern asks for.
    #[must_use]
    pub fn covers(&self, asked: &Pattern) -> bool {
        self.topics.iter().any(|topics| topics.covers(asked))
    }
}

impl fmt::Debug for TopicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicKey({})", self.id)
    }
}

/// What the tokens' library is to compute with: the one algorithm there is.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

static HMAC: LazyLock<()> = LazyLock::new(|| {
    // Nobody else in this process has tokens of that kind.
    let _ = PROVIDER.install_default();
});

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: Algorithm, secret: &[u8]) -> jsonwebtoken::errors::Result<Self> {
        if algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")))
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        // In a time that does not depend on how much of it is right.
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn grant(topics: &[&str], expires_at: DateTime<Utc>) -> Grant {
        Grant { topics: topics.iter().map(|topic| Pattern::new(*topic)).collect(), expires_at }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    #[test]
    fn a_token_allows_what_it_was_made_for_until_its_time_is_up() {
        let (key, app) = (TopicKey::generate(), AppId::generate());
        let grant = grant(&["room.7", "news.*"], now() + TimeDelta::seconds(60));
        let token = key.sign(app, &grant);
        assert_eq!(TopicKey::named_by(&token), Some(key.id()));
        assert_eq!(key.verify(app, &token, now()), Ok(grant.clone()));
        assert_eq!(key.verify(app, &token, grant.expires_at), Err(InvalidToken));
        assert_eq!(key.verify(AppId::generate(), &token, now()), Err(InvalidToken), "of another app");
        assert_eq!(TopicKey::generate().verify(app, &token, now()), Err(InvalidToken), "under another key");
    }

    #[test]
    fn a_grant_covers_no_more_than_it_says() {
        let grant = grant(&["room.7", "news.*"], now());
        for (asked, is_covered) in
            [("room.7", true), ("room.8", false), ("room.*", false), ("news.*", true), ("news.eu", true), ("*", false)]
        {
            assert_eq!(grant.covers(&Pattern::new(asked)), is_covered, "{asked}");
        }
    }

    #[test]
    fn every_changed_character_makes_a_token_worthless() {
        let (key, app) = (TopicKey::generate(), AppId::generate());
        let token = key.sign(app, &grant(&["a"], now() + TimeDelta::seconds(60)));
        for n in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.verify(app, &changed, now()), Err(InvalidToken), "character {n} of {token}");
        }
    }

    #[test]
    fn another_algorithm_is_refused_and_none_too() {
        let (key, app) = (TopicKey::generate(), AppId::generate());
        let token = key.sign(app, &grant(&["a"], now() + TimeDelta::seconds(60)));
        let [_, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        for algorithm in ["none", "HS384", "HS512", "RS256", "EdDSA"] {
            let header = format!(r#"{{"typ":"JWT","alg":"{algorithm}","kid":"{}"}}"#, key.id());
            let header = BASE64_URL_SAFE_NO_PAD.encode(header);
            for signature in [signature, ""] {
                let forged = format!("{header}.{claims}.{signature}");
                assert_eq!(key.verify(app, &forged, now()), Err(InvalidToken), "{algorithm}");
            }
        }
        for nothing in ["", ".", "..", "a.b.c", "a.b.c.d"] {
            assert_eq!(key.verify(app, nothing, now()), Err(InvalidToken), "{nothing}");
        }
    }

    #[test]
    fn a_key_does_not_show_in_debug_output() {
        let key = TopicKey::new(SecretId::generate(), &[7; 32]).expect("32 bytes");
        assert!(!format!("{key:?}").contains("7, 7"));
    }
}
