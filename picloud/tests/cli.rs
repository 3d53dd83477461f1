//! The binary as a shell sees it.

#![allow(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn picloud(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picloud"));
    for variable in ["PICLOUD_URL", "PICLOUD_KEY", "PICLOUD_CONFIG", "DATABASE_URL"] {
        command.env_remove(variable);
    }
    command.env("PICLOUD_DATA_DIR", dir.join("data")).current_dir(dir).args(arguments).output().unwrap()
}

/// The exit code, and the problem on stderr.
fn refused(dir: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = picloud(dir, &[arguments, &["--output", "json"]].concat());
    let told = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("no problem: {output:?}"));
    (output.status.code().unwrap(), told)
}

#[test]
fn wrong_usage_is_told_as_a_problem_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["srve"][..], &["serve", "--lissen", "x"], &["serve", "--listen", "x"], &["completions", "sh"]] {
        let (code, problem) = refused(dir.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert_eq!(problem["type"], "/problems/usage", "{arguments:?}");
    }
    std::fs::write(dir.path().join("picloud-server.toml"), "lisen = 'x'\n").unwrap();
    let (code, problem) = refused(dir.path(), &["serve"]);
    assert_eq!(code, 2);
    let told = "picloud-server.toml sets `lisen`, which is not a setting (did you mean `listen`?)";
    assert_eq!(problem["detail"], told);
}

#[test]
fn print_config_shows_the_file_of_the_folder_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("picloud-server.toml"), "public_url = 'https://pi.example.com'\n").unwrap();
    let output = picloud(dir.path(), &["serve", "--print-config", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = page["items"].as_array().unwrap().iter().find(|row| row["key"] == "public_url").unwrap();
    assert_eq!(row["value"], "https://pi.example.com");
    assert_eq!(row["from"], "public_url in picloud-server.toml");
    assert!(!dir.path().join("data").exists(), "showing makes nothing");
}

#[test]
fn the_doctor_finds_no_server_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = picloud(dir.path(), &["doctor", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = page["items"].as_array().unwrap().iter().find(|check| check["check"] == "server").unwrap();
    assert_eq!(server["ok"], false);
    assert!(server["next"].as_str().unwrap().contains("picloud serve"), "{server}");
}

#[test]
fn every_shell_gets_completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = picloud(dir.path(), &["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("print-config"), "{shell}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--help", "--version"] {
        assert!(picloud(dir.path(), &[flag]).status.success());
    }
}
