//! `picloud master-key`.

use reqwest::Method;
use serde_json::Value;

use super::{
    args::{Global, MasterKey},
    path, print,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, command: MasterKey) -> Result<(), Failure> {
    let client = global.client()?;
    let MasterKey::Rotate = command;
    let rotated: Value =
        client.read(client.request(Method::POST, &path::admin(&["instance", "rotate_master_key"]))).await?;
    let text = |name: &str| rotated[name].as_str().unwrap_or_default();
    let told = format!(
        "All data keys are under the master key {} now, instead of {}.\n\
         Back the new file up apart from the database, and copy it to every other node's machine.",
        text("to"),
        text("from")
    );
    print::outcome(global.output, &rotated, &told);
    Ok(())
}
