//! `bench`: builds the bench package in release, with the peers asked for, and runs it.

use crate::run::{self as commands, Args, Outcome, cargo};

const OPTIONS: [&str; 6] = ["--peers", "--scale", "--rounds", "--durability", "--json", "--dir"];

/// The sub-command. Options are the bench program's own; peers are cargo features, too.
pub fn run(args: &[String]) -> Outcome {
    let parsed = Args::parse(args, &OPTIONS)?;
    let mut command = cargo(["run", "--release", "-p", "stratalog-benches"]);
    if let Some(peers) = parsed.get("--peers") {
        command.args(["--features", peers]);
    }
    commands::run(command.arg("--").args(args))
}
