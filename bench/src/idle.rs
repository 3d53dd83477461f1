//! What an instance costs that has nothing to do, and how soon it answers.

use std::time::Instant;

use tokio::process::Command;

use crate::{
    Bench, calls,
    process::{Service, cpu_seconds, free_port, resident_mib},
    report::{self, Report},
};

pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("idle");
    let data_dir = bench.work.join("idle");
    let first = start(bench, &data_dir).await?.0;
    calls::deploy(bench, &data_dir).await?;
    first.stop().await?;

    let mut answers = vec![];
    for round in 0..bench.rounds {
        let (mut service, began) = start(bench, &data_dir).await?;
        // `/` has no route: the 404 would come from a node that is up, the script's own answer proves more.
        service.wait_for("/ready-script", std::time::Duration::from_millis(1)).await.ok();
        answers.push(began.elapsed().as_secs_f64() * 1e3);
        if round + 1 < bench.rounds {
            service.stop().await?;
            continue;
        }
        let before = cpu_seconds(service.pid())?;
        tokio::time::sleep(bench.idle).await;
        let used = cpu_seconds(service.pid())? - before;
        let share = used / bench.idle.as_secs_f64() * 100.0;
        report.add(report::line("start to ready on an existing cluster, PostgreSQL included", "ms", &answers));
        report.add(report::line(
            format!("idle for {} s: of one core, PostgreSQL included", bench.idle.as_secs()),
            "%",
            &[share],
        ));
        report.add(report::line("idle: resident memory of the service", "MiB", &[resident_mib(service.pid())?]));
        service.stop().await?;
        return Ok(());
    }
    Ok(())
}

async fn start(bench: &Bench, data_dir: &std::path::Path) -> anyhow::Result<(Service, Instant)> {
    let (port, admin_port) = (free_port()?, free_port()?);
    let mut command = Command::new(&bench.picloud);
    command.env_remove("DATABASE_URL").arg("serve").arg("--data-dir").arg(data_dir).args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--admin-listen",
        &format!("127.0.0.1:{admin_port}"),
    ]);
    let began = Instant::now();
    Ok((Service::start(command, port, &bench.work.join("idle.log"), "/readyz").await?, began))
}
