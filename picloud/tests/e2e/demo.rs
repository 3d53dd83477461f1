//! `scripts/demo`, what `make run` runs after the build.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    eventually::eventually,
    home::{Home, PICLOUD, told},
    service::free_port,
};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo");

fn command(home: &Home, listen: u16, admin: u16) -> Command {
    let mut command = Command::new(DEMO);
    home.prepare(&mut command);
    command
        .env("PICLOUD_PROGRAM", PICLOUD)
        .env("PICLOUD_LISTEN", format!("127.0.0.1:{listen}"))
        .env("PICLOUD_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .stdin(Stdio::null());
    command
}

/// One demo, ended with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_deploys_all_examples_once_and_its_lines_work_as_they_stand() {
    let home = Arc::new(Home::new());
    let (listen, admin) = (free_port(), free_port());
    for (round, wanted) in ["deployed", "as it was"].into_iter().enumerate() {
        let path = home.path().join(format!("output-{round}"));
        let output = File::create(&path).unwrap();
        let mut command = command(&home, listen, admin);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut demo = Demo(command.spawn().unwrap());
        let said = eventually("the demo is up", || async {
            let said = std::fs::read_to_string(&path).unwrap();
            said.contains("Ctrl-C ends the service").then_some(said)
        })
        .await;
        for app in ["hello", "shortener", "guestbook", "counter", "webhook"] {
            let line = said.lines().find(|line| line.contains(&format!("http://{app}.localhost:{listen}")));
            assert!(line.is_some_and(|line| line.ends_with(wanted)), "{app} is {wanted}:\n{said}");
        }
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| line.starts_with("curl http://")).collect();
        assert!(lines.len() >= 2, "{said}");
        for line in lines {
            let mut shell = Command::new("bash");
            shell.args(["-c", &format!("{line} --fail --silent --show-error")]);
            let output = tokio::process::Command::from(shell).output().await.unwrap();
            assert!(output.status.success(), "{line}: {}", told(&output));
        }
        // What all of them have done is in the log, whole: state and views follow from it.
        let replayed = home.picloud(&["replay"]).await;
        assert!(replayed.lines().count() > 25, "{replayed}");
        assert!(replayed.lines().all(|line| line.ends_with("rows, the same")), "{replayed}");
        if round == 0 {
            let second = tokio::process::Command::from(self::command(&home, listen, admin)).output().await.unwrap();
            assert_eq!(second.status.code(), Some(1));
            let told = told(&second);
            assert!(told.contains(&format!("127.0.0.1:{listen}")) && told.contains("PICLOUD_LISTEN="), "{told}");
        }
        kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
        let status = eventually("the demo ends", || {
            let ended = demo.0.try_wait().unwrap();
            async move { ended }
        })
        .await;
        assert!(status.success(), "{status}:\n{}", std::fs::read_to_string(&path).unwrap());
        assert_eq!(home.postmaster(), None, "PostgreSQL has stopped with it");
    }
}
