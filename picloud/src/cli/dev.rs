//! `picloud dev`: a folder that deploys itself.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Output,
    args::{Dev, Global},
    deploy,
    print::{self, BAD, GOOD, QUIET},
};
use crate::{
    client::Client,
    failure::{Exit, Failure},
    manifest::{self, Manifest, Overrides},
};

/// Editors write a file in several steps; this is how long it has to be quiet.
const QUIET_FOR: Duration = Duration::from_millis(60);

/// Deploys, then deploys again whenever a source changes, until ctrl-C.
pub(super) async fn run(global: &Global, arguments: &Dev) -> Result<(), Failure> {
    let client = global.client()?;
    let overrides = Overrides { app: arguments.app.clone(), ..Overrides::default() };
    let (_watcher, mut changed) = watch(&arguments.path)?;
    loop {
        deploy_once(&client, &arguments.path, &overrides, global.output).await?;
        tokio::select! {
            more = changed.recv() => if more.is_none() {
                return Err(Failure::failed(format!("lost sight of {}", arguments.path.display())));
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        while let Ok(Some(())) = timeout(QUIET_FOR, changed.recv()).await {}
    }
}

/// A mistake in a source is shown and waits for the next change; a server that does not want us ends it.
async fn deploy_once(client: &Client, path: &Path, overrides: &Overrides, output: Output) -> Result<(), Failure> {
    let began = Instant::now();
    let manifest = match manifest::read(path, overrides) {
        Ok(manifest) => manifest,
        Err(error) => {
            print::failure(&error.into(), output);
            return Ok(());
        }
    };
    match deploy::send(client, &manifest, false).await {
        Ok(answer) if output == Output::Json => print::object(&answer.told),
        Ok(deploy::Answer { difference, .. }) => {
            print::aside(&deploy::diagnostics(&manifest, &difference.diagnostics));
            print::text(&difference.show());
            let urls = difference.urls.iter().map(|url| format!("  {url}\n")).collect::<String>();
            print::text(&format!("{GOOD}✓{GOOD:#} {} {QUIET}{}{QUIET:#}\n{urls}", manifest.app, taken(began)));
        }
        Err(failure) if failure.exit == Exit::Failed => refused(&manifest, &failure, output),
        Err(failure) => return Err(failure),
    }
    Ok(())
}

fn refused(manifest: &Manifest, failure: &Failure, output: Output) {
    let found = deploy::told(failure);
    if output == Output::Json || found.is_empty() {
        print::failure(failure, output);
    }
    if output == Output::Table {
        print::aside(&deploy::diagnostics(manifest, &found));
        print::aside(&format!("{BAD}✗{BAD:#} {} stays as it was\n", manifest.app));
    }
}

fn taken(began: Instant) -> String {
    format!("{} ms", began.elapsed().as_millis())
}

/// A message for every change that can matter.
fn watch(path: &Path) -> Result<(notify::RecommendedWatcher, mpsc::UnboundedReceiver<()>), Failure> {
    let failed = |error: notify::Error| Failure::failed(format!("failed to watch {}: {error}", path.display()));
    let (tell, changed) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| matters(&event)) {
            // The receiver is gone when the command ends.
            let _ = tell.send(());
        }
    })
    .map_err(failed)?;
    // A file is replaced by being renamed over, which a watch on the file itself does not see.
    let folder: PathBuf = match path.is_dir() {
        true => path.to_owned(),
        false => path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned(),
    };
    watcher.watch(&folder, RecursiveMode::Recursive).map_err(failed)?;
    Ok((watcher, changed))
}

/// Sources only, and not that somebody read them.
fn matters(event: &notify::Event) -> bool {
    let source = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "rhai")
            || path.file_name().is_some_and(|name| name == manifest::FILE_NAME)
    };
    !event.kind.is_access() && event.paths.iter().any(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_written_script_is_noticed_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, mut changed) = watch(dir.path()).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
        std::fs::write(dir.path().join("greet.rhai"), "1").unwrap();
        timeout(Duration::from_secs(20), changed.recv()).await.expect("noticed").expect("watching");
        let of = |name: &str| {
            let event = notify::Event::new(notify::EventKind::Any);
            matters(&event.add_path(dir.path().join(name)))
        };
        assert!(of("greet.rhai") && of("picloud.toml") && !of("notes.txt"));
    }
}
