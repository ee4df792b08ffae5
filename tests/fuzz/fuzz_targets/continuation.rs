//! Fuzzes [`skein_hostile::continuation`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::continuation(data));
