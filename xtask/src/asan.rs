//! `asan`: the tests of crates with memory of their own, under the address sanitizer.
//!
//! Not under the thread sanitizer, too: it does not know fences, on which readers of the memtable's nodes
//! rely, and it wants the standard library built anew. Races are for loom to find.

use std::process::Command;

use crate::run::{self as commands, Args, Outcome, root, target_dir};

/// The target whose sanitizer works.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What is tested if nothing is named.
const CRATE: &str = "memtable";

/// The sub-command.
pub fn run(args: &[String]) -> Outcome {
    let args = Args::parse(args, &[])?;
    let named = if args.words.is_empty() { vec![CRATE.to_owned()] } else { args.words };
    for name in named {
        let name = name.trim_start_matches("stratalog-");
        println!("── asan: {name}");
        // Not through the `CARGO` of the toolchain that runs us: sanitizers need nightly.
        let mut command = Command::new("rustup");
        command.current_dir(root()).args(["run", "nightly", "cargo", "test"]);
        command.args(["-p", &format!("stratalog-{name}"), "--lib", "--test", "it"]);
        command.args(["--target", TARGET]).env("RUSTFLAGS", "-Zsanitizer=address");
        command.env("CARGO_TARGET_DIR", target_dir().join("sanitize/address"));
        commands::run(&mut command)?;
    }
    Ok(())
}
