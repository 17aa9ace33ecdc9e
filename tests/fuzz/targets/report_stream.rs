#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetcall::fuzz::report_stream(bytes));
