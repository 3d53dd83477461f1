//! `picloud routes`.

use super::{
    args::{Global, InApp},
    path, print,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, in_app: &InApp) -> Result<(), Failure> {
    let routes = global.client()?.list(&path::admin(&["apps", &in_app.app, "routes"])).await?;
    print::rows(global.output, &routes, &["method", "host", "path", "script_name", "mode", "record", "id"]);
    Ok(())
}
