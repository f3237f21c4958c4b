//! `crash` and `kill`: the crash tests of engine, log and command line, at the length of a long run.

use crate::run::{self as commands, Args, Outcome, cargo, show};

/// Histories of the log alone for each seed of a store; one is that much shorter.
const LOG_HISTORIES: u64 = 20;

/// Power cuts on the simulated file system: one test run of a store, and one of the log alone under every
/// backend, over many seeds.
pub fn power_cuts(args: &[String]) -> Outcome {
    let args = Args::parse(args, &["--seeds"])?;
    args.no_words()?;
    let seeds = args.number("--seeds", 3_000)?;
    test("stratalog", "crash", "STRATALOG_SEEDS", seeds)?;
    test("stratalog-wal", "crash", "STRATALOG_CRASH_STATES", seeds * LOG_HISTORIES)
}

/// Kills of a real import: one test run, of fifty kills or more, for each seed.
pub fn kills(args: &[String]) -> Outcome {
    let args = Args::parse(args, &["--seeds"])?;
    args.no_words()?;
    for seed in 0..args.number("--seeds", 20)? {
        test("stratalog-cli", "kill", "STRATALOG_SEED", seed)?;
    }
    Ok(())
}

fn test(package: &str, filter: &str, variable: &str, value: u64) -> Outcome {
    let mut command =
        cargo(["test", "--release", "-p", package, "--test", "it", filter, "--", "--nocapture"]);
    command.env(variable, value.to_string());
    println!("── {}", show(&command));
    commands::run(&mut command).map_err(|why| {
        format!("{why}\nThe failing test printed its seed, and the variable that replays it alone.")
    })
}
