//! The checks on the corpus, and on random input that is made of it. `SKEIN_SEED` replays a run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use skein_hostile::{CHECKS, Check};

/// How many random inputs each check gets.
const INPUTS: u64 = 500;
/// Longer ones are cut: the readers have limits of their own, which the corpus reaches.
const MAX_BYTES: usize = 4 * 1024;

/// Pieces that readers take apart.
const PIECES: [&str; 34] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "\r\n",
    "\r\n\r\n",
    "--b",
    "--b--\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 409 Conflict\r\n",
    "ETag: W/\"1\"\r\n",
    "\\u0000",
    "\\ud800",
    "\u{FEFF}",
    "...",
    "fragment",
    "mutation",
    "query",
    "#",
    "\"\"\"",
    "@",
    "$",
    "\u{1F600}",
];

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(..=most)];
    random.fill(&mut bytes);
    bytes
}

/// An input of the corpus, changed in a few places; now and then one made of nothing but chance.
fn input(random: &mut fastrand::Rng, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    if random.u8(..) < 32 {
        return bytes(random, 300);
    }
    let any = |random: &mut fastrand::Rng| corpus[random.usize(..corpus.len())].1.clone();
    let mut input = any(random);
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=input.len());
        let end = at + random.usize(..=(input.len() - at).min(64));
        match random.u8(..8) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, bytes(random, 8))),
            2 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            3 => input.truncate(at),
            4 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            5 => {
                let other = any(random);
                let from = random.usize(..=other.len());
                input.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                input.splice(at..end, piece.bytes());
            }
        }
        input.truncate(MAX_BYTES);
    }
    input
}

fn held(name: &str, check: Check) {
    let corpus = corpus(name);
    for (path, bytes) in &corpus {
        let outcome = catch_unwind(|| check(bytes));
        assert!(outcome.is_ok(), "{name} fails on {}", path.display());
    }
    let seed = std::env::var("SKEIN_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("{name}: {} inputs of the corpus, {INPUTS} random ones of seed {seed}", corpus.len());
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0..INPUTS {
        let input = input(&mut random, &corpus);
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            panic!("{name} fails on input {n} of SKEIN_SEED={seed}: {:?}", String::from_utf8_lossy(&input));
        }
    }
}

macro_rules! properties {
    ($($name:ident),+) => {
        $(
            #[test]
            fn $name() {
                held(stringify!($name), skein_hostile::$name);
            }
        )+

        #[test]
        fn every_check_has_a_property_and_a_fuzz_target() {
            assert_eq!(CHECKS.map(|(name, _)| name), [$(stringify!($name)),+]);
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/Cargo.toml");
            let manifest = fs::read_to_string(manifest).unwrap();
            for (name, _) in CHECKS {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no fuzz target");
            }
        }
    };
}

properties!(
    batch_answer,
    cloud_event,
    command_envelope,
    commit_rows,
    continuation,
    graphql_document,
    host_payload,
    page_answer,
    partition_rows,
    view_rows
);
