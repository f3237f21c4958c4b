//! The jobs: flush a memtable, merge tables (and collect the garbage of value files on the way), and
//! waiting for either.

use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::sync::Ordering;
use stratalog_compaction::{
    NewFile, Numbers, Output, Plan, Retain, Separation, Shape, ValueUse, VersionEdit, is_due, plan,
    plan_all, run, runs_after, write_tables,
};
use stratalog_sstable::TableOptions;
use stratalog_wal::Wal;

use crate::open_file::OpenTable;
use crate::store::Store;
use crate::trash::NewFiles;
use crate::tree::Tree;
use crate::work::{State, TASKS, Task};

impl Store {
    /// Whether a job of this kind has something to do.
    pub fn is_due(&self, task: Task) -> bool {
        match task {
            Task::Flush => !self.view.pin().sealed.is_empty(),
            Task::Compact => is_due(&self.view.pin().tree, &self.policy),
        }
    }

    /// Runs one job of this kind.
    ///
    /// # Errors
    /// Of reading, writing and the manifest. Then the tree is as before.
    pub fn run(&self, task: Task) -> Result<()> {
        match task {
            Task::Flush => self.flush_oldest(),
            Task::Compact => self.compact(),
        }?;
        self.tidy();
        Ok(())
    }

    /// Flushes the active memtable and waits until it, and all before it, are in tables.
    ///
    /// # Errors
    /// Of the flush; [`stratalog_base::Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.check_open()?;
        self.make_room(0)?;
        let end = self.log_end();
        self.finish(Task::Flush, |_| {
            Ok(self.view.pin().sealed.iter().all(|sealed| sealed.end > end))
        })
    }

    /// Waits until nothing is running or due.
    ///
    /// # Errors
    /// Of the jobs; [`stratalog_base::Error::Closed`].
    pub fn wait_idle(&self) -> Result<()> {
        self.check_open()?;
        TASKS.into_iter().try_for_each(|task| {
            self.finish(task, |state| Ok(!state.is_running(task) && !self.is_due(task)))
        })
    }

    /// Flushes, and merges all tables into one level.
    ///
    /// # Errors
    /// Of the jobs; [`stratalog_base::Error::Closed`].
    pub fn compact_all(&self) -> Result<()> {
        self.flush()?;
        self.work.run_alone(Task::Compact, || {
            let plan = plan_all(&self.view.pin().tree);
            // Not a move: what nobody needs has to go.
            plan.map_or(Ok(()), |plan| self.merge(&plan, |_| true))?;
            self.tidy();
            Ok(())
        })
    }

    /// Waits until `done`; without threads of the store's own, does the work until then.
    pub fn finish(
        &self,
        task: Task,
        mut done: impl FnMut(&mut State) -> Result<bool>,
    ) -> Result<()> {
        loop {
            if !self.options.background {
                self.work.run_due(task, || self.is_due(task), || self.run(task))?;
            }
            let finished = self.work.wait(|state| {
                state.take_failure(task)?;
                if done(state)? {
                    return Ok(Some(true));
                }
                // Without threads, whoever waits comes back to do what is left.
                let ours = !self.options.background && !state.is_running(task);
                Ok(ours.then_some(false))
            })?;
            if finished {
                return Ok(());
            }
        }
    }

    fn flush_oldest(&self) -> Result<()> {
        let Some(sealed) = self.view.pin().sealed.last().cloned() else { return Ok(()) };
        let runs = runs_after(&self.view.pin().tree.version, sealed.memtable.len() as u64, None);
        let written = self.write(
            u64::MAX,
            &self.options.output_options(0, &runs),
            &Tree::default(),
            |_| false,
            |output| {
                let retain = Retain::new(self.snapshots.list());
                write_tables(&mut sealed.memtable.cursor(), retain, |_| true, output)
            },
        )?;
        let edit = VersionEdit {
            added: written.tables.into_iter().map(|table| (0, table)).collect(),
            added_values: written.values,
            numbers: Numbers { flushed: Some(sealed.end), ..Numbers::default() },
            ..VersionEdit::default()
        };
        self.install(edit, Some(&sealed))?;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        // STORE-3. The flush is done; segments that stay go with the next one, or at the next open.
        let _ = self.log.truncate_before(sealed.end);
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        let Some(plan) = plan(&self.view.pin().tree, &self.policy) else { return Ok(()) };
        let Some((level, table)) = plan.trivial_move() else {
            return self.merge(&plan, ValueUse::is_mostly_garbage);
        };
        let edit = VersionEdit {
            removed: vec![(level, table.summary().id)],
            added: vec![(plan.target, table.summary().clone())],
            ..VersionEdit::default()
        };
        self.install(edit, None)?;
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Merges what `plan` says. Values that the merge meets in a value file of which `collect` says so
    /// are written anew.
    fn merge(
        &self,
        plan: &Plan<Arc<OpenTable>>,
        collect: impl Fn(&ValueUse) -> bool,
    ) -> Result<()> {
        // The plan's tables are in it: whoever makes plans and runs them is alone (WORK-3).
        let tree = self.view.pin().tree.clone();
        let collect = |id| tree.value_file(id).is_some_and(&collect);
        let runs = runs_after(&tree.version, 0, Some(plan));
        let table = self.options.output_options(plan.target, &runs);
        let edit = self.write(self.options.table_bytes, &table, &tree, collect, |output| {
            run(plan, &tree, Retain::new(self.snapshots.list()), output)
        })?;
        self.install(edit, None)?;
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `job`, whose inputs stand in `tree`, with new files for its output, and removes them if it
    /// fails: nothing names them yet.
    fn write<R>(
        &self,
        table_bytes: u64,
        table: &TableOptions,
        tree: &Tree,
        collect: impl Fn(u64) -> bool,
        job: impl FnOnce(&mut Output<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut new = NewFiles::new(&self.fs, &self.dir);
        let mut create =
            |file: NewFile| new.create(file, self.next_id.fetch_add(1, Ordering::Relaxed));
        let outcome = job(&mut Output {
            create: &mut create,
            table,
            table_bytes,
            values: &Separation {
                collect: &collect,
                read: &|handle| tree.values.read(handle),
                ..self.options.separation()
            },
            stop: &|| self.work.is_closing(),
        })?;
        new.keep();
        Ok(outcome)
    }
}
