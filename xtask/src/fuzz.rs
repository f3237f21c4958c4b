//! `fuzz`: runs the fuzz targets, each for a while, from what is in `fuzz/corpus` and `fuzz/seeds`. What is
//! new goes to the former, which is this machine's alone; the latter is kept: the least inputs that reach all
//! that was reached (`cargo fuzz cmin`), or valid ones to begin with.

use std::fs;
use std::process::Command;

use crate::run::{self as commands, Args, Outcome, is_installed, root};

/// The sub-command.
pub fn run(args: &[String]) -> Outcome {
    let args = Args::parse(args, &["--seconds"])?;
    let seconds = args.number("--seconds", 60)?;
    let targets = targets()?;
    if let Some(unknown) = args.words.iter().find(|word| !targets.contains(word)) {
        return Err(format!("no fuzz target `{unknown}`; there are: {}", targets.join(", ")));
    }
    if !is_installed("cargo-fuzz") {
        return Err("fuzzing needs cargo-fuzz and a nightly toolchain:\n  \
                    rustup toolchain install nightly\n  cargo install cargo-fuzz"
            .to_owned());
    }
    for target in if args.words.is_empty() { &targets } else { &args.words } {
        println!("── fuzz: {target}");
        let time = format!("-max_total_time={seconds}");
        // Not through the `CARGO` of the toolchain that runs us: the fuzzer needs nightly.
        let mut command = Command::new("rustup");
        command.current_dir(root()).args(["run", "nightly", "cargo", "fuzz", "run", target]);
        let corpus = format!("fuzz/corpus/{target}");
        fs::create_dir_all(root().join(&corpus)).map_err(|why| format!("{corpus}: {why}"))?;
        command.arg(corpus);
        let seeds = format!("fuzz/seeds/{target}");
        if root().join(&seeds).is_dir() {
            command.arg(seeds);
        }
        // No decoder may believe a length that its input could not hold.
        commands::run(command.args(["--", &time, "-malloc_limit_mb=64"]))?;
    }
    Ok(())
}

/// The names of the targets, in alphabetical order.
fn targets() -> Result<Vec<String>, String> {
    let dir = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).collect();
    names.sort_unstable();
    Ok(names)
}
