//! Fuzzes [`skein_hostile::cloud_event`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::cloud_event(data));
