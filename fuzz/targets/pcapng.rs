#![no_main]
libfuzzer_sys::fuzz_target!(|capture: &[u8]| fuzz::capture::pcapng(capture));
