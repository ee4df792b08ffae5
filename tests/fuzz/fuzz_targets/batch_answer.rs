//! Fuzzes [`skein_hostile::batch_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::batch_answer(data));
