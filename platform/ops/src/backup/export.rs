//! `export`: new commits to append blobs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::blob::BlobStore;
use skein_core::store::{BackupLine, EventStore};

use super::segments::{Lines, Writer, folder, segments};
use crate::Done;
use crate::flags::Output;
use crate::operator::Operator;

/// How many commits of an aggregate are read at once.
const COMMITS: usize = 100;
/// The most bytes of a checkpoint.
const MOST: u64 = 256 * 1024 * 1024;

/// What an export did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Aggregates that the backup holds now.
    pub aggregates: usize,
    /// Commits that this run added.
    pub commits: usize,
}

/// How far the aggregates of a shard are exported.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// The segment and the place in it that this is true for.
    segment: u64,
    offset: u64,
    /// The version of each aggregate.
    versions: BTreeMap<String, u64>,
}

/// Exports a service.
///
/// # Errors
/// A plane that is away; another export that is under way. What was exported stays, and the next run goes on.
pub async fn run_export(operator: &Operator, output: Output) -> Result<Done> {
    let service = operator.places.service();
    let exported = export(&operator.event_store()?, &*operator.backups()?, service).await?;
    match output {
        Output::Json => println!("{}", serde_json::to_string(&exported)?),
        Output::Text => {
            println!(
                "{} commits exported; the backup of {service} holds {} aggregates",
                exported.commits, exported.aggregates
            );
        }
    }
    Ok(Done::Fully)
}

/// Exports all commits that the backup does not hold yet.
///
/// # Errors
/// See [`run_export`].
pub async fn export(store: &EventStore, blobs: &dyn BlobStore, service: &str) -> Result<Exported> {
    let mut exported = Exported::default();
    for shard in 0..store.shard_count() {
        let done = export_shard(store, blobs, service, shard).await.with_context(|| format!("shard {shard}"))?;
        exported.aggregates += done.aggregates;
        exported.commits += done.commits;
    }
    Ok(exported)
}

async fn export_shard(store: &EventStore, blobs: &dyn BlobStore, service: &str, shard: usize) -> Result<Exported> {
    let folder = folder(service, shard);
    let segments = segments(blobs, &folder).await?;
    let mut checkpoint = load(blobs, &folder).await?;
    let known = (checkpoint.segment, checkpoint.offset);
    for segment in segments.iter().copied().filter(|segment| *segment >= known.0) {
        let at = if segment == known.0 { known.1 } else { 0 };
        let mut lines = Lines::of(blobs, &folder, segment, at);
        loop {
            let some = lines.next().await?;
            if some.is_empty() {
                break;
            }
            for line in &some {
                let version = checkpoint.versions.entry(line.aggregate.key()).or_default();
                if line.first != *version + 1 {
                    bail!(
                        "segment {segment} goes on with {} of {}, expected {}",
                        line.first,
                        line.aggregate,
                        *version + 1
                    );
                }
                *version = line.last;
            }
        }
        (checkpoint.segment, checkpoint.offset) = (segment, lines.place());
    }

    let mut writer = Writer::behind(blobs, &folder, segments.last().copied());
    let mut commits = 0;
    let mut from = None;
    loop {
        let page = store.tips(shard, from.as_ref()).await?;
        for (id, tip) in &page.found {
            let exported = checkpoint.versions.get(&id.key()).copied().unwrap_or(0);
            if exported > tip.version {
                bail!(
                    "{id} has version {}, the backup holds {exported}: this is another store than the one that was \
                     exported; give it another place with --at backups=URL",
                    tip.version
                );
            }
            let mut after = exported;
            while after < tip.version {
                let lines = store.back_up(id, tip, after, COMMITS).await?;
                let Some(last) = lines.last() else { bail!("the commits of {id} behind {after} are missing") };
                after = last.last;
                for line in &lines {
                    writer.add(line).await?;
                }
                commits += lines.len();
            }
            if after > 0 {
                checkpoint.versions.insert(id.key(), after);
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    writer.flush().await?;
    if let Some((segment, offset)) = writer.place() {
        (checkpoint.segment, checkpoint.offset) = (segment, offset);
    }
    if (checkpoint.segment, checkpoint.offset) != known {
        let text = serde_json::to_vec(&checkpoint)?;
        blobs.put(&format!("{folder}/checkpoint.json"), Bytes::from(text)).await?;
    }
    Ok(Exported { aggregates: checkpoint.versions.len(), commits })
}

async fn load(blobs: &dyn BlobStore, folder: &str) -> Result<Checkpoint> {
    let name = format!("{folder}/checkpoint.json");
    let Some(part) = blobs.read(&name, 0, MOST).await? else { return Ok(Checkpoint::default()) };
    serde_json::from_slice(&part.bytes)
        .with_context(|| format!("{name} is no checkpoint; without it, all segments are read again"))
}

/// Reads all lines of a backup, shard by shard, some at once.
pub(super) async fn read_all(
    blobs: &dyn BlobStore,
    service: &str,
    mut each: impl AsyncFnMut(Vec<BackupLine>) -> Result<()>,
) -> Result<()> {
    for shard in 0.. {
        let folder = folder(service, shard);
        let segments = segments(blobs, &folder).await?;
        if segments.is_empty() {
            break;
        }
        for segment in segments {
            let mut lines = Lines::of(blobs, &folder, segment, 0);
            loop {
                let some = lines.next().await?;
                if some.is_empty() {
                    break;
                }
                each(some).await?;
            }
        }
    }
    Ok(())
}
