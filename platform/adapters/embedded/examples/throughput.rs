//! Measures small transactions and reads of one file: `cargo run --release -p skein-embedded --example throughput`.

use std::time::Instant;

use skein_core::ports::TableStore;
use skein_core::table::{Operation, Row};
use skein_embedded::EmbeddedStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = EmbeddedStore::open(folder.path().join("tables.db"), &["events"])?;
    let count = 20_000;
    for tasks in [1, 64] {
        let started = Instant::now();
        let runs = (0..tasks).map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..count / tasks {
                    let partition = format!("order:{tasks}-{task}-{n}");
                    let operations =
                        ["C~1", "E!", "E~1"].map(|key| Operation::Insert(Row::new(key).with("data", "x".repeat(500))));
                    store.transact("events", &partition, &operations).await.map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await??;
        }
        println!("{tasks} writers: {:.0} transactions a second", f64::from(count) / started.elapsed().as_secs_f64());
        let started = Instant::now();
        let runs = (0..tasks).map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..count / tasks {
                    store
                        .get("events", &format!("order:{tasks}-{task}-{n}"), "E!")
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await??;
        }
        println!("{tasks} readers: {:.0} point reads a second", f64::from(count) / started.elapsed().as_secs_f64());
    }
    Ok(())
}
