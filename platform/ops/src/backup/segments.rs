//! The segments of a backup, read line by line and written block by block.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use skein_core::blob::{Appended, BlobStore, MAX_BLOCK_BYTES};
use skein_core::store::BackupLine;

/// How much is read at once.
const READ: u64 = MAX_BLOCK_BYTES as u64;
/// A block is appended when it is at least so long.
const BLOCK_BYTES: usize = 1024 * 1024;
/// The most blocks of one segment, below what a blob may have.
const MOST_BLOCKS: usize = 40_000;

/// The folder of a shard.
pub(super) fn folder(service: &str, shard: usize) -> String {
    format!("{service}/{shard:05}")
}

fn segment_name(folder: &str, number: u64) -> String {
    format!("{folder}/{number:08}.jsonl")
}

/// The numbers of the segments that are there, ascending.
pub(super) async fn segments(blobs: &dyn BlobStore, folder: &str) -> Result<Vec<u64>> {
    let prefix = format!("{folder}/");
    let (mut numbers, mut from) = (Vec::new(), None);
    loop {
        let page = blobs.list(&prefix, from.as_ref()).await?;
        for (name, _) in &page.blobs {
            let number = name[prefix.len()..].strip_suffix(".jsonl").map(str::parse::<u64>);
            numbers.extend(number.and_then(Result::ok));
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the lines of one segment from a place on.
pub(super) struct Lines<'a> {
    blobs: &'a dyn BlobStore,
    name: String,
    /// Where the next bytes begin.
    at: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn of(blobs: &'a dyn BlobStore, folder: &str, segment: u64, at: u64) -> Self {
        Lines { blobs, name: segment_name(folder, segment), at, buffer: Vec::new(), ended: false }
    }

    /// The place behind the last line that was given.
    pub(super) fn place(&self) -> u64 {
        self.at - self.buffer.len() as u64
    }

    /// The next lines, some at once; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<BackupLine>> {
        loop {
            if let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') {
                let first = self.place();
                let lines = self.buffer[..end].split(|byte| *byte == b'\n').map(|line| {
                    serde_json::from_slice(line)
                        .with_context(|| format!("{} behind byte {first} holds a line that is no commit", self.name))
                });
                let lines = lines.collect::<Result<_>>()?;
                self.buffer.drain(..=end);
                return Ok(lines);
            }
            if self.ended {
                if !self.buffer.is_empty() {
                    bail!("{} ends within a line: it was not written by an export", self.name);
                }
                return Ok(Vec::new());
            }
            let part = self.blobs.read(&self.name, self.at, READ).await?;
            let part = part.with_context(|| format!("{} is gone", self.name))?;
            self.at += part.bytes.len() as u64;
            self.ended = self.at >= part.size;
            self.buffer.extend_from_slice(&part.bytes);
        }
    }
}

/// Writes segments behind those that are there.
pub(super) struct Writer<'a> {
    blobs: &'a dyn BlobStore,
    folder: String,
    /// The segment that is written next or now.
    segment: u64,
    open: bool,
    at: u64,
    blocks: usize,
    block: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn behind(blobs: &'a dyn BlobStore, folder: &str, last: Option<u64>) -> Self {
        Writer {
            blobs,
            folder: folder.to_owned(),
            segment: last.map_or(1, |last| last + 1),
            open: false,
            at: 0,
            blocks: 0,
            block: Vec::new(),
        }
    }

    /// Adds a line. Returns whether everything up to it is stored.
    pub(super) async fn add(&mut self, line: &BackupLine) -> Result<bool> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() > MAX_BLOCK_BYTES {
            bail!("commit {} of {} takes {} bytes, which no block holds", line.first, line.aggregate, text.len());
        }
        if self.block.len() + text.len() > MAX_BLOCK_BYTES {
            self.flush().await?;
        }
        self.block.extend(text);
        if self.block.len() >= BLOCK_BYTES {
            self.flush().await?;
        }
        Ok(self.block.is_empty())
    }

    /// Stores what is left.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        if self.open && self.blocks == MOST_BLOCKS {
            (self.segment, self.open, self.at, self.blocks) = (self.segment + 1, false, 0, 0);
        }
        let name = segment_name(&self.folder, self.segment);
        if !self.open {
            if !self.blobs.create(&name).await? {
                bail!("{name} is there already: another export is under way; try again when it is done");
            }
            self.open = true;
        }
        let block = Bytes::from(std::mem::take(&mut self.block));
        let end = self.at + block.len() as u64;
        if self.blobs.append(&name, self.at, block.clone()).await? == Appended::Moved {
            // A request that was repeated may have been done the first time.
            let stored = self.blobs.read(&name, self.at, block.len() as u64 + 1).await?;
            if stored.is_none_or(|part| part.size != end || part.bytes != block) {
                bail!("{name} was written to by another: two exports ran at once; try again");
            }
        }
        (self.at, self.blocks) = (end, self.blocks + 1);
        Ok(())
    }

    /// The place behind what is stored, if anything was.
    pub(super) fn place(&self) -> Option<(u64, u64)> {
        self.open.then_some((self.segment, self.at))
    }
}
