//! `crash` and `kill`: the crash tests of engine and command line, at the length of a long run.

use crate::run::{self as commands, Args, Outcome, cargo, show};

/// Power cuts on the simulated file system: one test run over many seeds.
pub fn power_cuts(args: &[String]) -> Outcome {
    let args = Args::parse(args, &["--seeds"])?;
    args.no_words()?;
    let seeds = args.number("--seeds", 3_000)?;
    test("stratalog", "crash", "STRATALOG_SEEDS", seeds)
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
        format!("{why}\nThe failing test printed its seed: STRATALOG_SEED=… replays it alone.")
    })
}
