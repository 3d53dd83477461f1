//! A source that was sent, checked before anything is decided on it.

use std::sync::Arc;

use picloud_core::{
    limits::Limits,
    run::{Diagnostic, Severity},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::super::{AdminPlane, names};
use crate::problem::{Kind, Problem};

/// The longest source. It is in the log, and in the memory of every node that runs it.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// The longest message of a version.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// What was sent.
#[derive(Clone, Debug)]
pub(in crate::admin) struct NewSource {
    pub(in crate::admin) source: String,
    pub(in crate::admin) limits: Limits,
    pub(in crate::admin) message: Option<String>,
}

/// A source that can be stored, as far as can be told without reading it as Rhai.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Source {
    pub(in crate::admin) text: Arc<str>,
    pub(in crate::admin) sha256: String,
    pub(in crate::admin) limits: Limits,
    pub(in crate::admin) message: Option<String>,
}

impl Source {
    /// Checks size, limits and message.
    pub(in crate::admin) fn check(said: NewSource, ceiling: &Limits) -> Result<Self, Problem> {
        let NewSource { source, limits, message } = said;
        if source.len() > MAX_SOURCE_BYTES {
            let detail = format!("the source has {} bytes: allowed are {MAX_SOURCE_BYTES}", source.len());
            return Err(Problem::new(Kind::InvalidInput, detail).field("source").with("allowed", MAX_SOURCE_BYTES));
        }
        names::text("source", &source, usize::MAX)?;
        if let Some(message) = &message {
            names::text("message", message, MAX_MESSAGE_CHARS)?;
        }
        limits.within(ceiling).map_err(|over| {
            Problem::new(Kind::InvalidInput, over.to_string())
                .field(format!("limits.{}", over.field))
                .limit(over.field)
                .with("asked", over.asked)
                .with("allowed", over.allowed)
        })?;
        let sha256 = hex::encode(Sha256::digest(source.as_bytes()));
        Ok(Self { text: source.into(), sha256, limits, message })
    }
}

/// What was found in a script's source.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ScriptDiagnostic)]
pub(in crate::admin) struct Found {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::admin) script: String,
    #[serde(flatten)]
    pub(in crate::admin) diagnostic: Diagnostic,
}

impl AdminPlane {
    /// Everything wrong or questionable with sources, each under its script's name.
    pub(in crate::admin) async fn diagnose(&self, sources: &[(&str, &Source)]) -> Result<Vec<Found>, Problem> {
        let invoker = Arc::clone(&self.invoker);
        let sources: Vec<(String, Arc<str>, Limits)> = sources
            .iter()
            .map(|(name, source)| ((*name).to_owned(), Arc::clone(&source.text), source.limits))
            .collect();
        // A large source takes milliseconds to read: not on a thread that others wait for.
        let read = tokio::task::spawn_blocking(move || {
            let found = |(name, source, limits): &(String, Arc<str>, Limits)| {
                let diagnostics = invoker.validate(source, limits);
                let script = name.clone();
                diagnostics.into_iter().map(move |diagnostic| Found { script: script.clone(), diagnostic })
            };
            sources.iter().flat_map(found).collect()
        });
        read.await.map_err(|panicked| Problem::internal(&panicked))
    }

    /// Refuses sources with errors in them; answers the warnings of the others.
    pub(in crate::admin) async fn validate(&self, sources: &[(&str, &Source)]) -> Result<Vec<Found>, Problem> {
        let found = self.diagnose(sources).await?;
        let first = found.iter().find(|found| found.diagnostic.severity == Severity::Error);
        let Some(Found { script, diagnostic: Diagnostic { line, column, message, .. } }) = first else {
            return Ok(found);
        };
        let detail = format!("the script `{script}` has an error in line {line}, column {column}: {message}");
        Err(Problem::new(Kind::InvalidScript, detail).field("source").with("diagnostics", &found))
    }
}
