//! `picloud routes`.

use super::{
    args::{Global, InAppAsOf},
    path, print,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, wanted: &InAppAsOf) -> Result<(), Failure> {
    let to = path::admin(&["apps", &wanted.in_app.app, "routes"]);
    let routes = global.client()?.list(&wanted.as_of.of(&to)).await?;
    print::rows(global.output, &routes, &["method", "host", "path", "script_name", "mode", "record", "id"]);
    Ok(())
}
