//! Rounds: engines take turns, A B, then B A, so that a drift of the machine hits all alike. Every
//! part runs in a process of its own, so that memory and allocator of one do not colour another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::Outcome;
use crate::engine::Config;
use crate::kv::{Done, Part, Task};
use crate::meter::disk_bytes;

/// The argument by which this program starts itself for one [`Task`].
pub const CHILD: &str = "--child";

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Engines, ours first.
    pub engines: Vec<String>,
    /// How often each is measured.
    pub rounds: usize,
    /// Entries of a store.
    pub entries: u64,
    /// How every engine is set up.
    pub config: Config,
    /// Where stores are made, and removed again.
    pub dir: PathBuf,
}

/// What one engine did in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Which engine.
    pub engine: String,
    /// Which round, from 0.
    pub round: usize,
    /// Writing.
    pub fill: Done,
    /// Reading.
    pub read: Done,
    /// Bytes on disk between the two.
    pub disk_bytes: u64,
}

/// Runs every engine of `plan` in every round.
///
/// # Errors
/// The first failure of any of them.
pub fn run(plan: &Plan) -> Outcome<Vec<Run>> {
    let mut runs = Vec::new();
    for round in 0..plan.rounds {
        let mut turn: Vec<&String> = plan.engines.iter().collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for engine in turn {
            eprintln!("round {} of {}: {engine}", round + 1, plan.rounds);
            runs.push(run_engine(plan, engine, round)?);
        }
    }
    Ok(runs)
}

fn run_engine(plan: &Plan, engine: &str, round: usize) -> Outcome<Run> {
    let dir = plan.dir.join(engine);
    remove(&dir)?;
    let task = |part| Task {
        part,
        engine: engine.to_owned(),
        dir: dir.clone(),
        config: plan.config.clone(),
        entries: plan.entries,
    };
    let fill = in_child(&task(Part::Fill))?;
    let disk_bytes = disk_bytes(&dir)?;
    let read = in_child(&task(Part::Read))?;
    remove(&dir)?;
    Ok(Run { engine: engine.to_owned(), round, fill, read, disk_bytes })
}

fn remove(dir: &Path) -> Outcome<()> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why.into()),
        _ => Ok(()),
    }
}

/// Starts this program for `task`, on a quiet disk: what came before has been written back.
fn in_child(task: &Task) -> Outcome<Done> {
    Command::new("sync").status()?;
    let output = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(serde_json::to_string(task)?)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{:?} of {}: {}", task.part, task.engine, output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
