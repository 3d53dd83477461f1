//! `picloud key`.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Global, Key},
    path, print,
};
use crate::{failure::Failure, lasting};

pub(super) async fn run(global: &Global, command: &Key) -> Result<(), Failure> {
    let client = global.client()?;
    let keys = path::admin(&["api_keys"]);
    match command {
        Key::Ls => {
            let mut all = client.list(&keys).await?;
            if global.output == Output::Table {
                all.iter_mut().for_each(shorten);
            }
            print::rows(global.output, &all, &["name", "prefix", "scopes", "expires_at", "used_at", "id"]);
        }
        Key::Create { name, scopes, app, expires } => {
            let expires_at = expires.as_deref().map(|text| after(text, Utc::now())).transpose()?;
            let new = json!({ "name": name, "scopes": scopes, "app": app, "expires_at": expires_at });
            let made: Value = client.send_json(Method::POST, &keys, &new).await?;
            let key = made["key"].as_str().unwrap_or_default();
            print::outcome(global.output, &made, &format!("The key is shown now and never again:\n\n  {key}\n"));
        }
        Key::Revoke { key } => {
            client.send(client.request(Method::DELETE, &path::admin(&["api_keys", key]))).await?;
            print::done(global.output, &format!("Revoked {key}."));
        }
    }
    Ok(())
}

/// Names a few scopes, and counts many.
fn shorten(key: &mut Value) {
    let many = key["scopes"].as_array().map(Vec::len).filter(|many| *many > 3);
    if let Some(many) = many {
        key["scopes"] = format!("{many} scopes").into();
    }
}

/// The time after a while such as `90d`.
fn after(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    let wrong = || Failure::usage(format!("`{text}` is no time: write minutes, hours or days, as `30m`, `12h`, `90d`"));
    lasting::read(text).and_then(|lasts| now.checked_add_signed(lasts)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_while_is_counted_from_now() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(after("90d", now).unwrap(), now + TimeDelta::days(90));
        for bad in ["9y", "99999999999d"] {
            assert!(after(bad, now).is_err(), "{bad}");
        }
    }
}
