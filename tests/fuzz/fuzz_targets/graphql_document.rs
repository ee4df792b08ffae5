//! Fuzzes [`skein_hostile::graphql_document`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_hostile::graphql_document(data));
