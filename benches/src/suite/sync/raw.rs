//! The baseline `raw`: what the device makes durable without an engine, a sync for each commit.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::Outcome;
use crate::engine::Durability;
use crate::suite::Cell;

/// What it is called.
pub const NAME: &str = "raw";

/// Bytes of a commit: a sector, into which a commit of the engines would fit.
pub const BLOCK_BYTES: usize = 512;
/// Bytes of a file that is written over and over, as a log that recycles its segments does: no sync of
/// it has to make a new size or new blocks durable as well.
const RECYCLED_BYTES: usize = 64 << 10;

/// Measures `threads` threads, each with a recycled file of its own.
pub fn recycled(cell: &mut Cell, name: String, threads: usize) -> Outcome<()> {
    let file = |thread| {
        let file = File::create(cell.dir.join(format!("recycled-{thread}")))?;
        file.write_all_at(&[1; RECYCLED_BYTES], 0)?;
        Ok(file)
    };
    let files = (0..threads).map(file).collect::<Outcome<Vec<File>>>()?;
    files.iter().try_for_each(File::sync_all)?;
    let blocks = (RECYCLED_BYTES / BLOCK_BYTES) as u64;
    measure(cell, name, &files, |nth| nth % blocks)
}

/// Measures one thread that appends to a file.
pub fn growing(cell: &mut Cell, name: &str) -> Outcome<()> {
    let file = File::create(cell.dir.join("growing"))?;
    file.sync_all()?;
    measure(cell, name.to_owned(), &[file], |nth| nth)
}

/// Measures a thread for each of `files`, whose commit `nth` goes to the block `place(nth)`.
fn measure(
    cell: &mut Cell,
    name: String,
    files: &[File],
    place: impl Fn(u64) -> u64 + Sync,
) -> Outcome<()> {
    let measure = cell.measure(name).unit("commit").class(Durability::Sync);
    let step = measure.threads(files.len()).run(|thread| {
        let (file, place, mut block) = (&files[thread], &place, [0; BLOCK_BYTES]);
        let mut nth = 0;
        move |call| {
            block[..8].copy_from_slice(&call.to_le_bytes());
            file.write_all_at(&block, place(nth) * BLOCK_BYTES as u64)?;
            file.sync_data()?;
            nth += 1;
            Ok(1)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}
