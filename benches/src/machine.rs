//! Where a figure was measured: figures of different machines do not compare.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What a reader must know to judge a figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Type of the file system that the stores lie on.
    pub file_system: String,
    /// Commit that was checked out, marked if files were changed.
    pub commit: String,
}

impl Machine {
    /// This machine; what it does not tell stays `?`. Stores lie in `dir`.
    pub fn here(dir: &Path) -> Machine {
        Machine {
            cpu: after_colon("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib().unwrap_or(0) << 10,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(dir).unwrap_or_else(unknown),
            commit: commit().unwrap_or_else(unknown),
        }
    }
}

fn unknown() -> String {
    "?".to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| unknown())
}

fn after_colon(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split(':').nth(1))
        .map_or_else(unknown, |value| value.trim().to_owned())
}

fn memory_kib() -> Option<u64> {
    after_colon("/proc/meminfo", "MemTotal").split_whitespace().next()?.parse().ok()
}

/// The type of the mount whose point is the longest prefix of `dir`.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = read("/proc/self/mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let mount =
        mounts.filter(|(point, _)| dir.starts_with(point)).max_by_key(|(point, _)| point.len());
    mount.map(|(_, kind)| kind.to_owned())
}

fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit} + changes") })
}
