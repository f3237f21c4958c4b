//! [`Suite`]: cases that belong together, each measured in a process of its own.

use std::path::PathBuf;
use std::time::Instant;

use crate::Outcome;
use crate::engine::{self, Durability, Engine};
use crate::measure::Measure;
use crate::plan::Plan;
use crate::record::Step;
use crate::subjects::OURS;

mod compaction;
mod kv;
mod log_limits;
mod memtable;
mod origin;
mod recovery;
mod space;
mod sstable;
mod stall;
mod sync;
mod wal;
mod ycsb;

/// Every suite, in the order of the report.
pub const SUITES: &[&Suite] = &[
    &kv::SUITE,
    &ycsb::SUITE,
    &sync::SUITE,
    &origin::SUITE,
    &wal::SUITE,
    &log_limits::SUITE,
    &memtable::SUITE,
    &sstable::SUITE,
    &compaction::SUITE,
    &recovery::SUITE,
    &stall::SUITE,
    &space::SUITE,
];

/// Cases that belong together.
pub struct Suite {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it measures, in one line.
    pub about: &'static str,
    /// What it consists of under a plan.
    pub cases: fn(&Plan) -> Vec<Case>,
    /// Measures one part of one case for one subject. Runs in a process of its own.
    pub run: fn(&mut Cell) -> Outcome<()>,
}

/// A case: the same work for every subject.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the suite.
    pub name: String,
    /// Sizes and settings in words.
    pub about: String,
    /// Who takes part: ours first, then baselines and the plan's peers that can.
    pub subjects: Vec<String>,
    /// Parts, each in a process of its own, one after the other on the same directory.
    pub parts: Vec<&'static str>,
}

impl Case {
    /// A case in one part for ours alone.
    pub fn of_ours(name: impl Into<String>, about: impl Into<String>) -> Case {
        let subjects = vec![OURS.to_owned()];
        Case { name: name.into(), about: about.into(), subjects, parts: vec![""] }
    }

    /// A case in one part for all engines of `plan` that have something near `class`.
    pub fn of_engines(
        plan: &Plan,
        class: Durability,
        name: impl Into<String>,
        about: impl Into<String>,
    ) -> Case {
        Case {
            name: name.into(),
            about: about.into(),
            subjects: engine::subjects(plan, class),
            parts: vec![""],
        }
    }
}

/// One part of one case of one subject: what [`Suite::run`] is given, and where it leaves its steps.
pub struct Cell<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The case.
    pub case: &'a str,
    /// The part of [`Case::parts`].
    pub part: &'a str,
    /// Who is measured.
    pub subject: &'a str,
    /// An existing directory, empty before the first part.
    pub dir: PathBuf,
    /// What was measured.
    pub steps: Vec<Step>,
}

impl Cell<'_> {
    /// A measurement to be set up, run and pushed to [`Cell::steps`].
    pub fn measure(&self, name: impl Into<String>) -> Measure<'_> {
        Measure::new(name, self.plan, &self.dir)
    }

    /// Pushes `step`, which wrote all that it had to write to `store` and ended at `end`, and then a
    /// second step: the first one with the flush and the compactions that it caused.
    ///
    /// # Errors
    /// The engine's, or that `step` was cut.
    pub fn push_and_settle(
        &mut self,
        store: &dyn Engine,
        (step, end): (Step, Instant),
    ) -> Outcome<()> {
        if step.cut {
            return Err(format!("`{}` not done after {:.0} s", step.name, step.seconds).into());
        }
        let mut settled_at = end;
        let measure = self.measure(format!("{} + settle", step.name)).writing(store);
        let mut settled = measure.once(|| {
            let idle = store.settle()?;
            settled_at = Instant::now() - idle;
            Ok(step.ops)
        })?;
        // Background work went on between the two.
        settled.seconds = settled_at.saturating_duration_since(end).as_secs_f64();
        let settled = settled.after(&step);
        self.steps.extend([step, settled]);
        Ok(())
    }
}

/// "1 thread", "2 threads".
fn threads_named(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The suite called `name`.
///
/// # Errors
/// That there is none.
pub fn find(name: &str) -> Outcome<&'static Suite> {
    let found = SUITES.iter().find(|suite| suite.name == name);
    Ok(*found.ok_or_else(|| format!("there is no suite `{name}`; `--list` shows them"))?)
}
