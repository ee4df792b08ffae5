//! Fuzzes [`skein_hostile::commit_rows`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::commit_rows(data));
