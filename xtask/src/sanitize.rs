//! `asan`, `tsan`: tests under the address sanitizer, and under the thread sanitizer.
//!
//! The thread sanitizer does not know fences. Those we have order atomics among each other, so it reports nothing
//! that is not there; where memory changes hands, an acquiring load does what a fence would. Nor does it see calls to the
//! kernel that go round libc, and so that an address is mapped anew: for sanitizers rustix goes through it.

use std::process::Command;

use crate::run::{self as commands, Args, Outcome, root, target_dir};

/// The target whose sanitizers work.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A sanitizer and what is run under it.
struct Sanitizer {
    name: &'static str,
    /// What is tested if nothing is named.
    crates: &'static [&'static str],
    /// Arguments of cargo.
    build: &'static [&'static str],
    /// Modules of tests that are left out.
    skipped: &'static [&'static str],
}

const ADDRESS: Sanitizer =
    Sanitizer { name: "address", crates: &["memtable"], build: &[], skipped: &[] };

/// It must see the standard library, too, which is built for it: that needs `rust-src`. Tests run ten times as long under
/// it; those left out take minutes and have one thread.
const THREAD: Sanitizer = Sanitizer {
    name: "thread",
    crates: &["memtable", "sstable", "wal", "engine"],
    build: &["-Zbuild-std"],
    skipped: &["crash::", "damage::", "faults::", "model::", "salvage::"],
};

/// The sub-command `asan`.
pub fn address(args: &[String]) -> Outcome {
    run(&ADDRESS, args)
}

/// The sub-command `tsan`.
pub fn thread(args: &[String]) -> Outcome {
    run(&THREAD, args)
}

fn run(sanitizer: &Sanitizer, args: &[String]) -> Outcome {
    let args = Args::parse(args, &[])?;
    let default = || sanitizer.crates.iter().map(|&name| name.to_owned()).collect();
    let named: Vec<String> = if args.words.is_empty() { default() } else { args.words };
    for name in named {
        let package = match name.trim_start_matches("stratalog-") {
            "engine" => "stratalog".to_owned(),
            name => format!("stratalog-{name}"),
        };
        println!("── {}: {package}", sanitizer.name);
        // Not through the `CARGO` of the toolchain that runs us: sanitizers need nightly.
        let mut command = Command::new("rustup");
        command.current_dir(root()).args(["run", "nightly", "cargo", "test"]);
        command.args(sanitizer.build).args(["--target", TARGET]);
        command.args(["-p", &package, "--no-fail-fast", "--lib", "--test", "it", "--"]);
        command.args(sanitizer.skipped.iter().flat_map(|module| ["--skip", module]));
        let flags = format!("-Zsanitizer={} --cfg=rustix_use_libc", sanitizer.name);
        command.env("RUSTFLAGS", flags);
        command.env("CARGO_TARGET_DIR", target_dir().join("sanitize").join(sanitizer.name));
        commands::run(&mut command)?;
    }
    Ok(())
}
