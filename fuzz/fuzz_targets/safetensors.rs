#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| _ = colormamba_fuzz::safetensors(bytes));
