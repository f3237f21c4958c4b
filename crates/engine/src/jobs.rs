//! The jobs: flush a memtable, merge tables, and waiting for either.

use std::collections::HashSet;
use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::sync::Ordering;
use stratalog_compaction::{
    Numbers, Output, Plan, Retain, Shape, VersionEdit, plan, plan_all, run, write_tables,
};
use stratalog_wal::Wal;

use crate::store::Store;
use crate::table_file::{NewTables, TableFile};
use crate::work::{State, TASKS, Task};

impl Store {
    /// Whether a job of this kind has something to do.
    pub fn is_due(&self, task: Task) -> bool {
        match task {
            Task::Flush => !self.view.pin().sealed.is_empty(),
            Task::Compact => self.plan().is_some(),
        }
    }

    /// Runs one job of this kind.
    ///
    /// # Errors
    /// Of reading, writing and the manifest. Then the tree is as before.
    pub fn run(&self, task: Task) -> Result<()> {
        match task {
            Task::Flush => self.flush_oldest(),
            Task::Compact => self.plan().map_or(Ok(()), |plan| self.compact(&plan)),
        }?;
        self.tidy();
        Ok(())
    }

    /// Flushes the active memtable and waits until it, and all before it, are in tables.
    ///
    /// # Errors
    /// Of the flush; [`Error::Closed`].
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
    /// Of the jobs; [`Error::Closed`].
    pub fn wait_idle(&self) -> Result<()> {
        self.check_open()?;
        TASKS.into_iter().try_for_each(|task| {
            self.finish(task, |state| Ok(!state.is_running(task) && !self.is_due(task)))
        })
    }

    /// Flushes, and merges all tables into one level.
    ///
    /// # Errors
    /// Of the jobs; [`Error::Closed`].
    pub fn compact_all(&self) -> Result<()> {
        self.flush()?;
        self.work.run_alone(Task::Compact, || {
            let plan = plan_all(&self.view.pin().tree, &HashSet::new());
            // Not a move: what nobody needs has to go.
            plan.map_or(Ok(()), |plan| self.merge(&plan))?;
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

    fn plan(&self) -> Option<Plan<Arc<TableFile>>> {
        plan(&self.view.pin().tree, &self.policy, &HashSet::new())
    }

    fn flush_oldest(&self) -> Result<()> {
        let Some(sealed) = self.view.pin().sealed.last().cloned() else { return Ok(()) };
        let tables = self.write(u64::MAX, |output| {
            let retain = Retain::new(self.snapshots.list());
            write_tables(&mut sealed.memtable.cursor(), retain, |_| true, output)
        })?;
        let added = tables.into_iter().map(|table| (0, table)).collect();
        let numbers = Numbers { flushed: Some(sealed.end), ..Numbers::default() };
        self.install(VersionEdit { added, numbers, ..VersionEdit::default() }, Some(&sealed))?;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        // STORE-3. The flush is done; segments that stay go with the next one, or at the next open.
        let _ = self.log.truncate_before(sealed.end);
        Ok(())
    }

    fn compact(&self, plan: &Plan<Arc<TableFile>>) -> Result<()> {
        let Some((level, table)) = plan.trivial_move() else { return self.merge(plan) };
        let edit = VersionEdit {
            removed: vec![(level, table.summary().id)],
            added: vec![(plan.target, table.summary().clone())],
            ..VersionEdit::default()
        };
        self.install(edit, None)?;
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn merge(&self, plan: &Plan<Arc<TableFile>>) -> Result<()> {
        let edit = self.write(self.options.table_bytes, |output| {
            let tree = self.view.pin().tree.clone();
            run(plan, &tree, Retain::new(self.snapshots.list()), output)
        })?;
        self.install(edit, None)?;
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `job` with new table files for its output, and removes them if it fails: nothing names
    /// them yet.
    fn write<R>(
        &self,
        table_bytes: u64,
        job: impl FnOnce(&mut Output<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut new = NewTables::new(&self.fs, &self.dir);
        let mut create = || new.create(self.next_id.fetch_add(1, Ordering::Relaxed));
        let stop = || self.work.is_closing();
        let table = &self.table_options;
        let outcome = job(&mut Output { create: &mut create, table, table_bytes, stop: &stop })?;
        new.keep();
        Ok(outcome)
    }
}
