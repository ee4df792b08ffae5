//! Fuzzes [`skein_hostile::host_payload`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::host_payload(data));
