//! An app to deploy: a folder with a `picloud.toml` and its scripts.

use crate::home::Home;

/// Writes the app, whose host is `<name>.localhost`, and gives the folder to deploy. A script is its name, its route and
/// its source.
pub fn write(home: &Home, name: &str, scripts: &[(&str, &str, &str)]) -> String {
    let mut manifest = format!("app = \"{name}\"\nhosts = [\"{name}.localhost\"]\n");
    for (script, route, source) in scripts {
        manifest += &format!("\n[[script]]\nname = \"{script}\"\nroute = \"{route}\"\n");
        manifest += "limits = { max_operations = 10_000_000, timeout_ms = 30_000 }\n";
        home.write(&format!("{name}/{script}.rhai"), source);
    }
    home.write(&format!("{name}/picloud.toml"), &manifest);
    name.to_owned()
}

/// Reads, adds one, writes back, answers the number.
pub const COUNT: &str = r#"let c = kv::collection("counters"); let n = c.get_or("n", 0) + 1; c.set("n", n); n"#;

/// Keeps the path's key.
pub const KEEP: &str = r#"let key = ctx.request.params.key; kv::collection("kept").set(key, key); key"#;
