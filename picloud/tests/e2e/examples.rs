//! Every example, deployed as its README says and called by its own test.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use crate::{
    home::{Home, told},
    service::Start,
};

#[tokio::test]
async fn every_example_passes_its_own_test_twice() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let mut names = Vec::new();
    for folder in folders() {
        names.push(folder.file_name().unwrap().to_str().unwrap().to_owned());
        home.picloud(&["deploy", folder.to_str().unwrap()]).await;
        // Twice: an example is as good with data as without.
        for _ in 0..2 {
            let mut command = Command::new(folder.join("test.sh"));
            home.prepare(&mut command);
            command.env("BASE_URL", &service.public);
            let output = tokio::process::Command::from(command).output().await.unwrap();
            assert!(output.status.success(), "{}:\n{}", folder.display(), told(&output));
            assert!(told(&output).contains("ok    "), "{}: it checked nothing", folder.display());
        }
        let again = home.picloud(&["deploy", folder.to_str().unwrap()]).await;
        assert!(again.contains("Nothing to change"), "{}: {again}", folder.display());
    }
    let index = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/README.md")).unwrap();
    for name in &names {
        assert!(index.contains(&format!("[{name}]({name})")), "examples/README.md tells of {name}");
    }
    assert!(names.len() >= 5, "{names:?}");
    service.stop().await;
}

fn folders() -> Vec<PathBuf> {
    let examples = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).unwrap();
    let mut folders: Vec<_> = examples.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
