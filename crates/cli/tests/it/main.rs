//! The binary as a user meets it: what it prints, what it stores, how it exits.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers, too")]

mod bad_input;
mod entries;
mod import;
mod kill;
mod scan;
mod store;
mod table;
mod wal;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the binary left behind.
struct Run {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Run {
    /// Standard output of a run that succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        String::from_utf8(self.stdout).expect("the output is UTF-8")
    }

    /// Standard error of a run that failed with `code`.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        self.stderr
    }
}

/// A directory for a test, with a database `db` in it that does not exist yet.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn db(&self) -> PathBuf {
        self.path("db")
    }

    /// A file `name` with `contents`.
    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// `stratalog --db db args…`
    fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratalog"));
        command.arg("--db").arg(self.db()).args(args).stdin(Stdio::null());
        command
    }

    fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Run {
        finish(self.command(args).output().unwrap())
    }

    fn run_with_input<A: AsRef<OsStr>>(&self, args: &[A], input: impl AsRef<[u8]>) -> Run {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_ref()).unwrap();
        finish(child.wait_with_output().unwrap())
    }

    /// `import file options…`
    fn import(&self, file: &Path, options: &[&str]) -> Run {
        self.run_on(&["import"], file, options)
    }

    /// `words… path options…`
    fn run_on(&self, words: &[&str], path: &Path, options: &[&str]) -> Run {
        let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        args.push(path.as_os_str());
        args.extend(options.iter().map(OsStr::new));
        self.run(&args)
    }
}

fn finish(output: std::process::Output) -> Run {
    Run {
        code: output.status.code().expect("the process was not killed"),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("errors are UTF-8"),
    }
}

/// The objects of JSON Lines.
#[track_caller]
fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The lines of `bytes` in the order of their bytes, which is that of their keys.
fn sorted_lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// Damages the byte at `at`.
fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}
