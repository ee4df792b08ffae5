//! Fuzzes [`skein_hostile::command_envelope`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::command_envelope(data));
