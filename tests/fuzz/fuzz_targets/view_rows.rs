//! Fuzzes [`skein_hostile::view_rows`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::view_rows(data));
