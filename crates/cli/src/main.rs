//! `stratalog`: import, query, inspect and check Stratalog databases from the command line.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | what can be typed |
//! | [`commands`] | what each command does with a store |
//! | [`input`] | the formats that `import` reads, one file each |
//! | [`escape`] | binary keys and values as text |
//! | [`output`] | results for people and for programs |
//! | [`failure`] | what can go wrong, and the exit code of each |

mod args;
mod commands;
mod escape;
mod failure;
mod input;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let json = cli.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
