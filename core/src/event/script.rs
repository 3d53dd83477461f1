//! Scripts and their immutable versions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    id::{ScriptId, VersionId},
    limits::Limits,
};

/// What a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptKind {
    /// It is run.
    Endpoint,
    /// It is imported by others.
    Module,
}

impl ScriptKind {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Module => "module",
        }
    }
}

/// An import, pinned: the version it meant when it was deployed is the version it means for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// As the source names it.
    pub name: String,
    /// The module.
    pub script: ScriptId,
    /// Its version.
    pub version: VersionId,
}

/// A version was stored. It runs once it is activated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The script; its first version makes it.
    pub script: ScriptId,
    /// Its name, unique in the app.
    pub name: String,
    /// What it is for.
    pub script_kind: ScriptKind,
    /// The version.
    pub version: VersionId,
    /// Counts from 1 within the script.
    pub number: u32,
    /// Rhai source.
    pub source: String,
    /// SHA-256 of the source, hexadecimal.
    pub sha256: String,
    /// What its imports mean.
    #[serde(default)]
    pub imports: Vec<Import>,
    /// What a run of it may use.
    #[serde(deserialize_with = "super::tolerant::limits")]
    pub limits: Limits,
    /// What the deployer says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Deployed {
    pub(super) fn subject(&self) -> String {
        self.script.to_string()
    }
}

/// A version became the one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// The script.
    pub script: ScriptId,
    /// The version.
    pub version: VersionId,
}

impl Activated {
    pub(super) fn subject(&self) -> String {
        self.script.to_string()
    }
}

/// A script and all its versions went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The script.
    pub script: ScriptId,
}

impl Deleted {
    pub(super) fn subject(&self) -> String {
        self.script.to_string()
    }
}

/// Its runs that are owed wait, and nobody else can run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The script.
    pub script: ScriptId,
}

impl Paused {
    pub(super) fn subject(&self) -> String {
        self.script.to_string()
    }
}

/// It can be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The script.
    pub script: ScriptId,
}

impl Resumed {
    pub(super) fn subject(&self) -> String {
        self.script.to_string()
    }
}
