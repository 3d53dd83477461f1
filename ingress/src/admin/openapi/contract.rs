//! What an endpoint takes and answers, read off its handler's signature: the document cannot promise anything else.

use std::{collections::BTreeMap, marker::PhantomData};

use axum::{
    Json as Answer,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::nulls;
use crate::{
    admin::{
        Plane,
        access::{Asker, Caller, InApp},
        body::Json,
        etag::{IfMatch, Versioned},
        params::Params,
        write::{NoContent, Shown, Written},
    },
    problem::Problem,
};

/// What goes in and what comes out where all is well.
#[derive(Debug, Default)]
pub(in crate::admin) struct Contract {
    /// The object whose members are the query's parameters.
    pub(super) query: Option<Value>,
    pub(super) body: Option<Content>,
    pub(super) has_if_match: bool,
    /// None: the answer has no body.
    pub(super) answer: Option<Content>,
    pub(super) has_cursor: bool,
    pub(super) has_etag: bool,
    /// All that is referred to, by name.
    pub(super) schemas: BTreeMap<String, Value>,
}

/// A body.
#[derive(Debug)]
pub(in crate::admin) enum Content {
    /// JSON of this schema.
    Json(Value),
    /// Server-sent events whose data has this schema.
    Events(Value),
    /// A form of a page.
    Form,
    /// A page.
    Html,
    /// A line of text.
    Text,
    /// A file.
    File,
}

impl Contract {
    /// A reference to a type's schema, which is kept with all that it refers to.
    fn refer<T: ToSchema>(&mut self, settle: fn(&mut Value)) -> Value {
        let mut schemas = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut schemas);
        for (name, schema) in schemas {
            let mut schema = serde_json::to_value(schema).expect("schemas are plain data");
            settle(&mut schema);
            self.schemas.insert(name, schema);
        }
        json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
    }
}

/// The contract of a handler.
pub(in crate::admin) fn of<H: Handler<M>, M>(_: &H) -> Contract {
    let mut contract = Contract::default();
    H::describe(&mut contract);
    contract
}

/// A function that answers requests. `M` tells numbers of arguments apart.
pub(in crate::admin) trait Handler<M> {
    fn describe(contract: &mut Contract);
}

/// What a handler takes. Most of it is not the client's to say.
pub(in crate::admin) trait Input {
    fn describe(_: &mut Contract) {}
}

/// What a handler answers.
pub(in crate::admin) trait Output {
    fn describe(contract: &mut Contract);
}

macro_rules! handlers {
    ($(($($input:ident),*);)*) => {$(
        impl<F, A, O, $($input),*> Handler<($($input,)*)> for F
        where
            F: Fn($($input),*) -> A,
            A: Future<Output = O>,
            O: Output,
            $($input: Input,)*
        {
            fn describe(_contract: &mut Contract) {
                $($input::describe(_contract);)*
                O::describe(_contract);
            }
        }
    )*};
}

handlers! {
    ();
    (A1);
    (A1, A2);
    (A1, A2, A3);
    (A1, A2, A3, A4);
    (A1, A2, A3, A4, A5);
    (A1, A2, A3, A4, A5, A6);
}

impl Input for State<Plane> {}
impl Input for Caller {}
impl Input for Asker {}
impl Input for InApp {}
impl Input for HeaderMap {}
impl Input for Uri {}
// Its names are in the path.
impl<T> Input for Path<T> {}

impl<T: PartialSchema> Input for Params<T> {
    fn describe(contract: &mut Contract) {
        contract.query = Some(serde_json::to_value(T::schema()).expect("schemas are plain data"));
    }
}

impl<T: ToSchema> Input for Json<T> {
    fn describe(contract: &mut Contract) {
        contract.body = Some(Content::Json(contract.refer::<T>(|_| ())));
    }
}

impl Input for Bytes {
    fn describe(contract: &mut Contract) {
        contract.body = Some(Content::Form);
    }
}

impl Input for IfMatch {
    fn describe(contract: &mut Contract) {
        contract.has_if_match = true;
    }
}

impl<O: Output> Output for Result<O, Problem> {
    fn describe(contract: &mut Contract) {
        O::describe(contract);
    }
}

impl<T: ToSchema> Output for Answer<T> {
    fn describe(contract: &mut Contract) {
        Shown::<T>::describe(contract);
    }
}

impl<T: ToSchema> Output for Shown<T> {
    fn describe(contract: &mut Contract) {
        contract.answer = Some(Content::Json(contract.refer::<T>(nulls::settle)));
    }
}

impl<T: ToSchema> Output for Versioned<T> {
    fn describe(contract: &mut Contract) {
        contract.has_etag = true;
        Shown::<T>::describe(contract);
    }
}

impl<O: Output> Output for Written<O> {
    fn describe(contract: &mut Contract) {
        contract.has_cursor = true;
        O::describe(contract);
    }
}

impl Output for NoContent {
    fn describe(_: &mut Contract) {}
}

impl Output for StatusCode {
    fn describe(_: &mut Contract) {}
}

/// A response that is put together by hand, and what it is.
#[derive(Debug)]
pub(in crate::admin) struct Told<O> {
    response: Response,
    is: PhantomData<fn() -> O>,
}

impl<O> From<Response> for Told<O> {
    fn from(response: Response) -> Self {
        Self { response, is: PhantomData }
    }
}

impl<O> IntoResponse for Told<O> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<O: Output> Output for Told<O> {
    fn describe(contract: &mut Contract) {
        O::describe(contract);
    }
}

/// Server-sent events with this data.
#[derive(Debug)]
pub(in crate::admin) struct Events<T>(PhantomData<T>);

impl<T: ToSchema> Output for Events<T> {
    fn describe(contract: &mut Contract) {
        contract.answer = Some(Content::Events(contract.refer::<T>(nulls::settle)));
    }
}

/// A page.
#[derive(Debug)]
pub(in crate::admin) enum Html {}

impl Output for Html {
    fn describe(contract: &mut Contract) {
        contract.answer = Some(Content::Html);
    }
}

/// A line of text.
#[derive(Debug)]
pub(in crate::admin) enum Text {}

impl Output for Text {
    fn describe(contract: &mut Contract) {
        contract.answer = Some(Content::Text);
    }
}

/// A file.
#[derive(Debug)]
pub(in crate::admin) enum File {}

impl Output for File {
    fn describe(contract: &mut Contract) {
        contract.answer = Some(Content::File);
    }
}
