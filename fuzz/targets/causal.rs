#![no_main]
libfuzzer_sys::fuzz_target!(|frames: &[u8]| fuzz::causal::observe(frames));
