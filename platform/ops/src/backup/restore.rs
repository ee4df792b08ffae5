//! `restore`: an empty store is made from a backup, in a higher epoch.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::blob::{Appended, BlobStore};
use skein_core::store::EventStore;

use super::export::read_all;
use crate::Done;
use crate::flags::Output;
use crate::operator::Operator;

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Aggregates that the backup holds.
    pub aggregates: usize,
    /// Commits that this run wrote; fewer than the backup holds where it went on with one that broke off.
    pub commits: usize,
    /// The epoch of the restored store.
    pub epoch: u32,
}

/// One line of `restores.jsonl`.
#[derive(Serialize, Deserialize)]
struct Given {
    epoch: u32,
}

/// Restores a service.
///
/// # Errors
/// A store that is not empty, a backup that is broken (nothing is written then), a plane that is away. What was written
/// stays, and the same command goes on with it.
pub async fn run_restore(operator: &Operator, output: Output) -> Result<Done> {
    let service = operator.places.service();
    let restored = restore(&operator.event_store()?, &*operator.backups()?, service).await?;
    match output {
        Output::Json => println!("{}", serde_json::to_string(&restored)?),
        Output::Text => println!(
            "{} commits restored; {service} has {} aggregates in epoch {}",
            restored.commits, restored.aggregates, restored.epoch
        ),
    }
    Ok(Done::Fully)
}

/// Restores an empty store, or goes on with a restore that broke off.
///
/// # Errors
/// See [`run_restore`].
pub async fn restore(store: &EventStore, blobs: &dyn BlobStore, service: &str) -> Result<Restored> {
    let under_way = match store.restoration().await? {
        Some((_, true)) => bail!("the store of {service} was restored already; restoring needs an empty one"),
        Some((epoch, false)) => Some(epoch),
        None if store.is_empty().await? => None,
        None => bail!("the store of {service} is not empty; restoring needs an empty one"),
    };
    // First all is looked at, so that a broken backup leaves no half store.
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let mut epoch = 0;
    read_all(blobs, service, async |lines| {
        for line in &lines {
            line.check()?;
            let version = versions.entry(line.aggregate.key()).or_default();
            if line.first != *version + 1 {
                bail!("the backup goes on with {} of {}, expected {}", line.first, line.aggregate, *version + 1);
            }
            *version = line.last;
            epoch = epoch.max(line.epoch);
        }
        Ok(())
    })
    .await
    .context("nothing was written")?;
    if versions.is_empty() {
        bail!("there is no backup of {service}; nothing was written");
    }
    let epoch = match under_way {
        Some(epoch) => epoch,
        None => {
            let given = give_epoch(blobs, service, epoch).await?;
            store.mark_restoration(given, false).await?;
            given
        }
    };
    let mut commits = 0;
    read_all(blobs, service, async |lines| {
        for some in lines.chunk_by(|one, other| one.aggregate == other.aggregate) {
            commits += store.restore(some, epoch).await?;
        }
        Ok(())
    })
    .await
    .with_context(|| format!("{commits} commits were restored; the same command goes on with the others"))?;
    store.mark_restoration(epoch, true).await?;
    Ok(Restored { aggregates: versions.len(), commits, epoch })
}

/// An epoch above that of the backup, and above those that earlier restores were given: consumers may have seen events
/// of a store that was restored and lost again. It is written down before it is used.
async fn give_epoch(blobs: &dyn BlobStore, service: &str, backup: u32) -> Result<u32> {
    let name = format!("{service}/restores.jsonl");
    blobs.create(&name).await?;
    let part = blobs.read(&name, 0, 16 * 1024 * 1024).await?.with_context(|| format!("{name} is gone"))?;
    let mut epoch = backup;
    for line in part.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let given: Given = serde_json::from_slice(line).with_context(|| format!("{name} is broken"))?;
        epoch = epoch.max(given.epoch);
    }
    let epoch = epoch.checked_add(1).context("there is no higher epoch")?;
    let mut line = serde_json::to_vec(&Given { epoch })?;
    line.push(b'\n');
    // Also after a repetition that was done the first time: a second try gives the next epoch, which costs nothing.
    if blobs.append(&name, part.size, Bytes::from(line)).await? == Appended::Moved {
        bail!("{name} was written to by another restore; try again");
    }
    Ok(epoch)
}
