//! The integration events of an aggregate, as they were published, and the aggregates of a category: what
//! republication reads. Never on the hot path.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::rows::{TIP, Tip};
use super::{EVENTS_TABLE, EventStore, corrupt};
use crate::cloud_event::CloudEvent;
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId};
use crate::table::Sweep;

/// How many versions one read covers.
const WINDOW: u64 = 500;

/// How far a walk through the aggregates of a category has come: the shard, and the last partition in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The shard.
    pub shard: u16,
    /// The key of the last aggregate that was visited there; empty at its beginning.
    pub after: String,
}

/// Some aggregates of a category, in the order of shards and keys.
#[derive(Debug)]
pub struct Aggregates {
    /// The aggregates, each with its tip.
    pub found: Vec<(AggregateId, Tip)>,
    /// Where to go on.
    pub through: Place,
    /// Whether these were the last ones.
    pub last: bool,
}

/// The integration events of one aggregate, read forwards in windows.
pub struct History<'a> {
    store: &'a EventStore,
    id: &'a AggregateId,
    tip: Option<Tip>,
    /// The next version to read.
    version: u64,
    /// The next sequence to come.
    sequence: u64,
    /// The epoch of the last event that was read.
    epoch: u32,
    /// Whom the commits read so far erase.
    erasures: Vec<(String, CommandId)>,
}

impl EventStore {
    /// The integration events of an aggregate from the sequence on, up to its tip as it is now.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub async fn history<'a>(&'a self, id: &'a AggregateId, from: u64) -> Result<History<'a>, Fault> {
        let tip = self.tip(id).await?;
        Ok(self.history_up_to(id, from, tip))
    }

    pub(crate) fn history_up_to<'a>(&'a self, id: &'a AggregateId, from: u64, tip: Option<Tip>) -> History<'a> {
        let from = from.max(1);
        // An event shows at most one integration event, so that no version is below the sequence of what it shows.
        History { store: self, id, epoch: 0, tip, version: from, sequence: from, erasures: Vec::new() }
    }

    /// At most `limit` aggregates of a category behind the place, of one shard. There may be none although this is not
    /// the end.
    ///
    /// # Errors
    /// A store that is away, or a tip that is not as this code writes it.
    pub async fn aggregates(&self, category: &str, place: &Place, limit: u32) -> Result<Aggregates, Fault> {
        let shards = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        let Some(shard) = self.shards.get(usize::from(place.shard)) else {
            return Ok(Aggregates {
                found: Vec::new(),
                through: Place { shard: shards, after: String::new() },
                last: true,
            });
        };
        let sweep = Sweep {
            // A blank is the lowest letter of a key, so nothing lies between a key and the key with a blank.
            from: if place.after.is_empty() { format!("{category}:") } else { format!("{} ", place.after) },
            // The letter behind the colon.
            to: format!("{category};"),
            row: Some(TIP.to_owned()),
            top: limit.clamp(1, 1_000),
        };
        let (mut found, mut next): (Vec<(AggregateId, Tip)>, _) = (Vec::new(), None);
        let more = 'pages: loop {
            let page = shard.sweep(EVENTS_TABLE, &sweep, next.as_ref()).await?;
            for (partition, row) in &page.rows {
                if found.len() == sweep.top as usize {
                    break 'pages true;
                }
                let id = partition.parse().map_err(|error| corrupt(partition, &row.key, error))?;
                found.push((id, Tip::read(partition, row)?.0));
            }
            next = page.next;
            if next.is_none() || found.len() == sweep.top as usize {
                break next.is_some();
            }
        };
        let through = match found.last() {
            Some((id, _)) if more => Place { shard: place.shard, after: id.key() },
            _ => Place { shard: place.shard + 1, after: String::new() },
        };
        let last = through.shard >= shards;
        Ok(Aggregates { found, through, last })
    }
}

impl History<'_> {
    /// The next events, byte for byte as they were published; `None` at the end.
    ///
    /// # Errors
    /// See [`EventStore::load`]; an event that is missing between two others, or before the tip.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Fault> {
        let Some(tip) = &self.tip else { return Ok(None) };
        let partition = self.id.key();
        let missing = |sequence: u64| {
            corrupt(&partition, TIP, format_args!("the integration event {sequence} of {} is missing", tip.sequence))
        };
        while self.version <= tip.version && self.sequence <= tip.sequence {
            let high = tip.version.min(self.version.saturating_add(WINDOW - 1));
            let commits = self.store.window(&partition, self.version, high).await?;
            self.version = commits.last().map_or(high, |commit| commit.last) + 1;
            for commit in &commits {
                let erased = commit.erasures.iter().map(|person| (person.clone(), commit.meta.command.clone()));
                self.erasures.extend(erased);
            }
            let mut events = Vec::new();
            for bytes in commits.into_iter().flat_map(|commit| commit.publications) {
                let event = CloudEvent::from_json(&bytes).map_err(|error| corrupt(&partition, TIP, error))?;
                let Some(sequence) = event.sequence().filter(|sequence| *sequence >= self.sequence) else { continue };
                if sequence != self.sequence {
                    return Err(missing(self.sequence));
                }
                self.sequence += 1;
                self.epoch = event.epoch;
                events.push(bytes);
            }
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
        if self.sequence <= tip.sequence { Err(missing(self.sequence)) } else { Ok(None) }
    }

    /// Whom the commits read so far erase, by which command: to be done before their events go out. A commit's own worker
    /// may not have come to it yet.
    pub(crate) fn take_erasures(&mut self) -> Vec<(String, CommandId)> {
        std::mem::take(&mut self.erasures)
    }

    /// What a consumer's cursor shows once it has taken everything up to the tip: epoch and sequence of the last
    /// integration event. `None` where there is none. The epoch is known once all events were read.
    pub fn mark(&self) -> Option<(u32, u64)> {
        self.tip.as_ref().map(|tip| (self.epoch, tip.sequence)).filter(|(_, sequence)| *sequence > 0)
    }
}
