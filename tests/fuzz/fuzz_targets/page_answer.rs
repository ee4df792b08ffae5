//! Fuzzes [`skein_hostile::page_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::page_answer(data));
