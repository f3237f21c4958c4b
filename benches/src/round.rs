//! Rounds: subjects take turns, A B C, C B A, B C A, …, so that a drift of the machine hits all alike. Every
//! part runs in a process of its own, so that memory and allocator of one do not colour another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::Values;
use crate::plan::Plan;
use crate::record::{Run, Step};
use crate::suite::{self, Case, Cell, Suite};

/// The argument by which this program starts itself for one [`Task`].
pub const CHILD: &str = "--child";

/// After how many limits of a step a part that has not ended is ended.
const PATIENCE: u32 = 20;

/// A part of a case, to be measured for one subject in a process of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    plan: Plan,
    suite: String,
    case: String,
    part: String,
    subject: String,
    dir: PathBuf,
}

/// Measures every case of every suite for all its subjects, `plan.rounds` times, in directories under
/// `dir`. After each round `keep` gets all runs so far and the number of rounds, so that nothing done is
/// lost if a later round is not waited for.
///
/// # Errors
/// Only if a process cannot be started, a directory not be made, or from `keep`: what fails in a run
/// stands there.
pub fn run(
    plan: &Plan,
    suites: &[(&Suite, Vec<Case>)],
    dir: &Path,
    mut keep: impl FnMut(&[Run], usize) -> Outcome<()>,
) -> Outcome<()> {
    let cases = suites.iter().flat_map(|(_, cases)| cases);
    let total = plan.rounds * cases.map(|case| case.subjects.len()).sum::<usize>();
    let bar = ProgressBar::new(total as u64).with_style(ProgressStyle::with_template(
        "{elapsed:>4} [{bar:30}] {pos}/{len} {msg} (about {eta} left)",
    )?);
    bar.enable_steady_tick(Duration::from_millis(500));
    let mut runs = Vec::new();
    for round in 0..plan.rounds {
        for (suite, cases) in suites {
            for case in cases {
                let mut turn: Vec<&String> = case.subjects.iter().collect();
                turn.rotate_left(round / 2 % case.subjects.len());
                if round % 2 == 1 {
                    turn.reverse();
                }
                for subject in turn {
                    let what = format!("{} {}: {subject}", suite.name, case.name);
                    bar.set_message(what.clone());
                    let run = run_case(plan, suite, case, subject, round, dir)?;
                    if let Some(why) = &run.failed {
                        bar.suspend(|| eprintln!("{what} failed: {why}"));
                    }
                    runs.push(run);
                    bar.inc(1);
                }
            }
        }
        keep(&runs, round + 1)?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn run_case(
    plan: &Plan,
    suite: &Suite,
    case: &Case,
    subject: &str,
    round: usize,
    dir: &Path,
) -> Outcome<Run> {
    let dir = dir.join(subject);
    remove(&dir)?;
    fs::create_dir_all(&dir)?;
    let mut run = Run {
        suite: suite.name.to_owned(),
        case: case.name.clone(),
        subject: subject.to_owned(),
        round,
        steps: Vec::new(),
        failed: None,
    };
    for part in &case.parts {
        let task = Task {
            plan: plan.clone(),
            suite: run.suite.clone(),
            case: run.case.clone(),
            part: (*part).to_owned(),
            subject: subject.to_owned(),
            dir: dir.clone(),
        };
        let done = run.steps.len();
        run.failed = in_child(&task, &mut run.steps)?;
        if run.failed.is_some() {
            // What a wrong answer was found in is not measured.
            run.steps.truncate(done);
            break;
        }
    }
    remove(&dir)?;
    Ok(run)
}

/// Starts this program for `task`, on a quiet disk: what came before has been written back. Adds what
/// was measured to `steps`; returns why it failed.
fn in_child(task: &Task, steps: &mut Vec<Step>) -> Outcome<Option<String>> {
    Command::new("sync").status()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(serde_json::to_string(task)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let limit = task.plan.limit * PATIENCE;
    let (sender, output) = mpsc::channel();
    thread::spawn(move || sender.send(lines(stdout)));
    let complaints = thread::spawn(move || lines(stderr));
    // Its output ends when it does.
    let measured = output.recv_timeout(limit);
    if measured.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    for line in measured.as_deref().unwrap_or_default() {
        match serde_json::from_str(line) {
            Ok(step) => steps.push(step),
            Err(why) => return Ok(Some(format!("no step: {why}: {line}"))),
        }
    }
    let complaints = complaints.join().unwrap_or_default();
    Ok(match (measured, status.success()) {
        (Err(_), _) => Some(format!("not done after {} s", limit.as_secs())),
        (Ok(_), true) => None,
        (Ok(_), false) => Some(complaints.last().map_or_else(|| status.to_string(), Clone::clone)),
    })
}

fn lines(from: Option<impl std::io::Read>) -> Vec<String> {
    from.map(|from| BufReader::new(from).lines().map_while(Result::ok).collect())
        .unwrap_or_default()
}

/// Does the task in this process, and prints each step as a line of JSON.
///
/// # Errors
/// The suite's.
pub fn perform(task: &str) -> Outcome<()> {
    let task: Task = serde_json::from_str(task)?;
    let mut cell = Cell {
        plan: &task.plan,
        case: &task.case,
        part: &task.part,
        subject: &task.subject,
        dir: task.dir.clone(),
        steps: Vec::new(),
    };
    Values::warm_up();
    let outcome = (suite::find(&task.suite)?.run)(&mut cell);
    for step in &cell.steps {
        println!("{}", serde_json::to_string(step)?);
    }
    outcome
}

fn remove(dir: &Path) -> Outcome<()> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why.into()),
        _ => Ok(()),
    }
}
