#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nocturne_fuzz::session(bytes));
