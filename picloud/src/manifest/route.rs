//! A route as people write it: `POST /checkout`, `ANY /greet`, `/files/*`.

use std::str::FromStr;

use picloud_core::nearest::nearest;

const METHODS: [&str; 8] = ["ANY", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Which requests. The server looks at the path more closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    /// Upper case; none is any.
    pub method: Option<String>,
    /// Begins with a slash.
    pub path: String,
}

/// A text that is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route `{route}`: {problem}")]
pub struct InvalidRoute {
    /// As it was written.
    pub route: String,
    /// What was expected.
    pub problem: String,
}

impl FromStr for RoutePattern {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let wrong = |problem: String| InvalidRoute { route: text.to_owned(), problem };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (method, path) = match words[..] {
            [path] => ("ANY", path),
            [method, path] => (method, path),
            _ => return Err(wrong("expected a method and a path, such as `POST /checkout`".to_owned())),
        };
        let method = method.to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            let meant =
                nearest(&method, METHODS).map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
            return Err(wrong(format!("`{method}` is not a method{meant}: expected one of {}", METHODS.join(", "))));
        }
        if !path.starts_with('/') {
            return Err(wrong(format!("expected a path that begins with a slash, such as `/{path}`")));
        }
        Ok(Self { method: (method != "ANY").then_some(method), path: path.to_owned() })
    }
}
