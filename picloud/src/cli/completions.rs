//! `picloud completions`.

use std::io;

use clap_complete::Shell;

use crate::failure::Failure;

/// Prints what the shell wants to `source`.
pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    // Written in one go, so that a reader who closes the pipe ends us quietly instead of in the generator.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "picloud", &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error.to_string())),
        _ => Ok(()),
    }
}
