//! What a step cost: processor time, bytes written and read, peak memory, bytes on disk. The kernel
//! counts, in `/proc/self`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::record::Step;

/// Reads the kernel's counters at the beginning of a step.
pub struct Meter {
    cpu: Duration,
    written_bytes: u64,
    read_bytes: u64,
}

impl Meter {
    /// Starts, and forgets the peak of memory so far.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn start() -> Outcome<Meter> {
        // Resets the peak (proc(5)); where that is not allowed the peak is that of the process.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let io = fs::read_to_string("/proc/self/io")?;
        Ok(Meter {
            written_bytes: field(&io, "write_bytes:")?,
            read_bytes: field(&io, "rchar:")?,
            cpu: cpu_time()?,
        })
    }

    /// The figures of `ops` units done in `time`, as far as the kernel knows them.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn step(&self, name: String, ops: u64, time: Duration) -> Outcome<Step> {
        let io = fs::read_to_string("/proc/self/io")?;
        Ok(Step {
            name,
            unit: String::new(),
            threads: 1,
            class: None,
            ops,
            seconds: time.as_secs_f64(),
            pace: None,
            cut: false,
            cpu_seconds: (cpu_time()? - self.cpu).as_secs_f64(),
            written_bytes: field(&io, "write_bytes:")? - self.written_bytes,
            fs_written_bytes: None,
            read_bytes: field(&io, "rchar:")? - self.read_bytes,
            peak_bytes: field(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? << 10,
            disk_bytes: 0,
            latency: None,
            windows: Vec::new(),
            shapes: Vec::new(),
            figures: Vec::new(),
        })
    }
}

/// Bytes allocated on disk by the files under `dir`.
///
/// # Errors
/// If it cannot be read, but not if a file goes away meanwhile.
pub fn disk_bytes(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    let entries = match fs::read_dir(dir) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        sum += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path())?,
            Ok(metadata) => metadata.blocks() * 512,
            Err(why) if why.kind() == ErrorKind::NotFound => 0,
            Err(why) => return Err(why.into()),
        };
    }
    Ok(sum)
}

/// Processor time of all threads, living and gone. The kernel counts it in hundredths of a second for
/// user space, whatever its own clock.
fn cpu_time() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Processor time of the living threads whose names begin with `name` (as far as the kernel keeps them:
/// 15 bytes).
///
/// # Errors
/// If the kernel does not tell.
pub fn threads_cpu_time(name: &str) -> Outcome<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread that ends meanwhile has no files any more.
        let Ok(comm) = fs::read_to_string(task.join("comm")) else { continue };
        if comm.starts_with(name) {
            let ran = fs::read_to_string(task.join("schedstat"))?;
            let ns = ran.split_whitespace().next().and_then(|ns| ns.parse().ok());
            sum += Duration::from_nanos(ns.ok_or("the kernel does not say how long a thread ran")?);
        }
    }
    Ok(sum)
}

/// Memory of the process that is resident, exactly.
///
/// # Errors
/// If the kernel does not tell.
pub fn resident_bytes() -> Outcome<u64> {
    Ok(field(&fs::read_to_string("/proc/self/smaps_rollup")?, "Rss:")? << 10)
}

fn field(text: &str, name: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("the kernel does not say `{name}`").into())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_kernel_counts() {
        let meter = Meter::start().unwrap();
        let (start, mut memory) = (Instant::now(), vec![1u8; 8 << 20]);
        while start.elapsed() < Duration::from_millis(60) {
            memory.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
        }
        let step = meter.step("spin".to_owned(), 1, start.elapsed()).unwrap();
        assert!(step.cpu_seconds > 0.0 && step.seconds >= 0.06, "{step:?}");
        assert!(step.peak_bytes > 8 << 20 && memory[0] != 0);
    }

    #[test]
    fn files_of_all_directories_count() {
        let dir = std::env::temp_dir().join(format!("stratalog-meter-{}", std::process::id()));
        fs::create_dir_all(dir.join("inner")).unwrap();
        fs::write(dir.join("a"), vec![1; 10_000]).unwrap();
        fs::write(dir.join("inner/b"), vec![1; 10_000]).unwrap();
        let bytes = disk_bytes(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!((20_000..100_000).contains(&bytes), "{bytes}");
    }
}
