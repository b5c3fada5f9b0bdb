//! libFuzzer's end of `targets.rs`: the target is named by `NIXDEPLOY_FUZZ_TARGET`.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

#[expect(clippy::disallowed_methods)] // libFuzzer takes no arguments of ours
static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("NIXDEPLOY_FUZZ_TARGET").expect("NIXDEPLOY_FUZZ_TARGET is set");
    TARGETS.iter().find(|t| t.name == name).expect("it names a target")
});

fuzz_target!(|data: &[u8]| (TARGET.run)(&String::from_utf8_lossy(data)));
