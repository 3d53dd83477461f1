//! How a command ends, as the shell sees it: the one place that knows exit codes.

use std::process::ExitCode;

use crate::{config::ConfigError, problem::Problem};

/// Why a command ended other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The server refused, or something failed.
    Failed = 1,
    /// It was asked for in the wrong way.
    Usage = 2,
    /// There was no server to ask.
    NotReached = 3,
    /// The server does not know us, or we may not do it.
    NotAllowed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", problem.sentence())]
pub struct Failure {
    /// How the shell learns of it.
    pub exit: Exit,
    /// How people and programs learn of it.
    pub problem: Box<Problem>,
    /// What to do next, where we know better than the problem.
    pub next: Option<String>,
}

impl Failure {
    /// Something did not work.
    #[must_use]
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(Exit::Failed, Problem::local("failed", "Failed", detail))
    }

    /// It was asked for in the wrong way.
    #[must_use]
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Problem::local("usage", "Wrong usage", detail))
    }

    /// Nobody answers.
    #[must_use]
    pub fn not_reached(detail: impl Into<String>) -> Self {
        Self::new(Exit::NotReached, Problem::local("not-reached", "Server not reached", detail))
    }

    /// We have no key.
    #[must_use]
    pub fn not_signed_in(detail: impl Into<String>) -> Self {
        Self::new(Exit::NotAllowed, Problem::local("unauthorized", "Not signed in", detail))
    }

    /// The server said no.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        let exit = match problem.status {
            Some(401 | 403) => Exit::NotAllowed,
            _ => Exit::Failed,
        };
        Self::new(exit, problem)
    }

    /// With what to do next.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// The problem as one JSON object, `next` included.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut problem = (*self.problem).clone();
        if let Some(next) = &self.next {
            problem.more.insert("next".to_owned(), next.clone().into());
        }
        serde_json::to_string(&problem).expect("a problem is plain data")
    }

    fn new(exit: Exit, problem: Problem) -> Self {
        Self { exit, problem: Box::new(problem), next: None }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// With all its causes: whoever runs a service sees them in its terminal.
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16) -> Failure {
        let problem = format!(r#"{{"type":"/problems/x","title":"X","status":{status},"detail":"no","field":"name"}}"#);
        Failure::refused(serde_json::from_str(&problem).unwrap())
    }

    #[test]
    fn the_shell_can_tell_the_ends_apart() {
        assert_eq!(told(422).exit as u8, 1);
        assert_eq!(told(500).exit as u8, 1);
        assert_eq!(Failure::usage("x").exit as u8, 2);
        assert_eq!(Failure::not_reached("x").exit as u8, 3);
        assert_eq!(told(401).exit as u8, 4);
        assert_eq!(told(403).exit as u8, 4);
        assert_eq!(Failure::not_signed_in("x").exit as u8, 4);
    }

    #[test]
    fn a_server_s_problem_keeps_all_its_members() {
        insta::assert_snapshot!(
            told(422).next("rename it").to_json(),
            @r#"{"type":"/problems/x","title":"X","status":422,"detail":"no","field":"name","next":"rename it"}"#
        );
    }
}
