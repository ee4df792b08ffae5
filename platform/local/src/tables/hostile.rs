//! What must hold whatever a client sends to the Table front's parsers: no panic, and a refusal of bounded length.
//!
//! `SKEIN_SEED` replays a run.

use super::resource::{self, Resource};
use super::{filter, odata};

const INPUTS: usize = 4_000;
/// A refusal names what is wrong without repeating all of it.
const MAX_REFUSAL: usize = 4 * 1024;

/// Pieces that the parsers take apart.
const PIECES: [&str; 40] = [
    "'",
    "''",
    "(",
    ")",
    "((((((((((((((((((((((((((((((((((",
    " and ",
    " or ",
    "not ",
    "PartitionKey",
    "RowKey",
    " eq ",
    " ge ",
    " lt ",
    " ne ",
    "eq",
    "datetime'",
    "guid'",
    "1L",
    "%",
    "%27",
    "%00",
    "%ff",
    "$",
    "$batch",
    ",",
    "=",
    "@odata.type",
    "\"Edm.Int64\"",
    "\"Edm.Binary\"",
    "\"Edm.DateTime\"",
    "1e999",
    "99999999999999999999",
    "null",
    "{",
    "[",
    "\r\n",
    "--b",
    "--b--\r\n",
    "HTTP/1.1",
    "\u{1F600}",
];

#[test]
fn parsers_take_any_text() {
    let seed = std::env::var("SKEIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SKEIN_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..INPUTS {
        let mut text = String::new();
        for _ in 0..random.usize(..12) {
            match random.u8(..3) {
                0 => text.push(random.char(..)),
                _ => text.push_str(PIECES[random.usize(..PIECES.len())]),
            }
        }
        for problem in [filter::parse(&text).err(), odata::incoming(text.as_bytes()).err()].into_iter().flatten() {
            assert!(problem.message.len() <= MAX_REFUSAL, "{text:?}");
        }
        let _ = Resource::parse(&text);
        let pairs = resource::query(&text);
        assert!(
            pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 3 * text.len(),
            "{text:?}"
        );
    }
}
