#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bacalhau_nats_server::fuzzing::parameters(data));
