//! The two pages of plain HTML that there are before anybody can sign in: making the first account, and setting a password
//! at a link. They load nothing, run nothing and can be framed by nobody.

use axum::{
    body::Bytes,
    extract::{Path, State},
    response::IntoResponse,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use super::{
    Plane,
    access::Asker,
    cookie,
    first::NewOwner,
    openapi::{Html, Told},
};
use crate::problem::Problem;

/// The stylesheet, in the page itself: [`policy`] allows what has this hash and nothing else.
const STYLE: &str = include_str!("pages.css");

/// Nothing is loaded, forms go back here only, and no other page shows this one.
fn policy() -> HeaderValue {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use sha2::{Digest as _, Sha256};
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is plain text")
}

/// What a form sent.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &Bytes) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    fn field(&self, name: &str) -> String {
        self.0.iter().find(|(field, _)| field == name).map_or_else(String::new, |(_, value)| value.clone())
    }
}

/// The token of a link, out of its query.
fn token(uri: &Uri) -> String {
    Form::read(&Bytes::from(uri.query().unwrap_or_default().to_owned())).field("token")
}

/// Shows the form for the first account.
pub(super) async fn show_setup(uri: Uri) -> Told<Html> {
    setup_form(&token(&uri), None, "", "")
}

/// Makes the first account.
pub(super) async fn set_up(
    State(plane): State<Plane>,
    asker: Asker,
    Path(link): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Told<Html> {
    let form = Form::read(&body);
    let (token, email, name) = (form.field("token"), form.field("email"), form.field("name"));
    if let Err(problem) = cookie::is_same_origin(&headers, &uri, &plane.urls.admin) {
        return setup_form(&token, Some(&problem), &email, &name);
    }
    let owner = NewOwner { email: email.clone(), name: name.clone(), password: form.field("password") };
    match plane.make_first_owner(asker, &link, &token, owner).await {
        Ok(()) => done(&format!("The account {} is yours. Sign in with it:", escape(&email))),
        Err(problem) => setup_form(&token, Some(&problem), &email, &name),
    }
}

/// Shows the form for a password.
pub(super) async fn show_join(uri: Uri) -> Told<Html> {
    join_form(&token(&uri), None)
}

/// Sets a password.
pub(super) async fn joined(
    State(plane): State<Plane>,
    asker: Asker,
    Path(account): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Told<Html> {
    let form = Form::read(&body);
    let token = form.field("token");
    if let Err(problem) = cookie::is_same_origin(&headers, &uri, &plane.urls.admin) {
        return join_form(&token, Some(&problem));
    }
    match plane.join(asker, &account, &token, form.field("password")).await {
        Ok(_) => done("The password is set. Sign in with it:"),
        Err(problem) => join_form(&token, Some(&problem)),
    }
}

fn setup_form(token: &str, problem: Option<&Problem>, email: &str, name: &str) -> Told<Html> {
    let fields = format!(
        "<label>Your name<input name=\"name\" value=\"{}\" autocomplete=\"name\" required maxlength=\"100\" autofocus></label>\
         <label>Email, to sign in with<input name=\"email\" type=\"email\" value=\"{}\" autocomplete=\"username\" required></label>\
         <label>Password<input name=\"password\" type=\"password\" autocomplete=\"new-password\" minlength=\"10\" required>\
         <small>At least 10 characters. A few words make a good one.</small></label>",
        escape(name),
        escape(email)
    );
    form(
        "Welcome to PiCloud",
        "Make the account that owns this instance.",
        token,
        problem,
        &fields,
        "Create the account",
    )
}

fn join_form(token: &str, problem: Option<&Problem>) -> Told<Html> {
    let fields = "<label>Password<input name=\"password\" type=\"password\" autocomplete=\"new-password\" minlength=\"10\" \
                  required autofocus><small>At least 10 characters. A few words make a good one.</small></label>";
    form("Set your password", "You sign in to PiCloud with it.", token, problem, fields, "Set the password")
}

fn form(title: &str, lead: &str, token: &str, problem: Option<&Problem>, fields: &str, button: &str) -> Told<Html> {
    let status = problem.map_or(StatusCode::OK, |problem| problem.kind().status());
    let told = problem.map_or_else(String::new, |problem| {
        format!("<p class=\"problem\" role=\"alert\">{}</p>", escape(problem.detail()))
    });
    let body = format!(
        "<h1>{title}</h1><p>{lead}</p>{told}<form method=\"post\">\
         <input type=\"hidden\" name=\"token\" value=\"{}\">{fields}<button>{button}</button></form>",
        escape(token)
    );
    page(status, title, &body)
}

fn done(told: &str) -> Told<Html> {
    let body = format!("<h1>Done</h1><p>{told}</p><pre>picloud login</pre>");
    page(StatusCode::OK, "Done", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Told<Html> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · PiCloud</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    );
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy()),
    ];
    (status, headers, html).into_response().into()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_text_and_nothing_else() {
        assert_eq!(escape("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }
}
