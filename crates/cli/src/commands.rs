//! What each command does with a store.

mod import;
mod maintain;
mod progress;
mod query;
mod scan;
mod table;
mod wal;

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;
use stratalog::{Db, Options};

use crate::args::{Cli, Command};
use crate::failure::Failure;

/// Runs the command that was typed.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let target = || {
        let Some(dir) = cli.db else {
            let missing = "--db DIR is missing: the database to work on";
            Cli::command().error(ErrorKind::MissingRequiredArgument, missing).exit()
        };
        Target { dir, json: cli.json }
    };
    match cli.command {
        Command::Wal(command) => wal::run(command, cli.json),
        Command::Table(command) => table::run(command, cli.json),
        Command::Import(args) => import::run(&target(), args),
        Command::Scan(args) => scan::run(&target(), args),
        Command::Get(args) => query::get(&target(), args),
        Command::Put(args) => query::put(&target(), args),
        Command::Delete(args) => query::delete(&target(), args),
        Command::Stats => maintain::stats(&target()),
        Command::Check => maintain::check(&target()),
        Command::Compact => maintain::compact(&target()),
    }
}

/// The database that a command works on, and how it speaks.
struct Target {
    dir: PathBuf,
    json: bool,
}

impl Target {
    fn name(&self) -> std::path::Display<'_> {
        self.dir.display()
    }

    /// Opens the database, which must exist.
    fn open(&self) -> Result<Db, Failure> {
        if is_missing_or_empty(&self.dir) {
            return Err(Failure::NoStore { db: self.dir.clone() });
        }
        Ok(Options::new().create(false).open(&self.dir)?)
    }
}

fn is_missing_or_empty(dir: &Path) -> bool {
    match dir.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
