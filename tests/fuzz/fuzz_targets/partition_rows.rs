//! Fuzzes [`skein_hostile::partition_rows`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::partition_rows(data));
