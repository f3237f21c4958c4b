//! `bench`: builds the bench package in release, with the peers asked for, and runs it.

use crate::run::{self as commands, Outcome, cargo};

/// The sub-command. Options are the bench program's own; peers are cargo features, too.
pub fn run(args: &[String]) -> Outcome {
    let peers = peers(args);
    let mut command = cargo(["run", "--release", "--quiet", "-p", "stratalog-benches"]);
    if !peers.is_empty() {
        command.args(["--features", &peers.join(",")]);
    }
    if peers.contains(&"rocksdb") && std::env::var_os("CXXFLAGS").is_none() {
        // As its INSTALL.md builds it: its checksums choose their instructions at compile time.
        command.env("CXXFLAGS", "-march=native");
    }
    commands::run(command.arg("--").args(args))
}

/// The values of every `--peers`, in either of the ways in which it can be given.
fn peers(args: &[String]) -> Vec<&str> {
    let after = |at: usize| args.get(at.checked_sub(1)?).filter(|flag| *flag == "--peers");
    let values = args.iter().enumerate().filter_map(|(at, arg)| {
        arg.strip_prefix("--peers=").or_else(|| after(at).map(|_| arg.as_str()))
    });
    values.flat_map(|value| value.split(',')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_among_other_options() {
        let peers_of = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            peers(&words).join("+")
        };
        assert_eq!(peers_of("kv --rounds 3 --peers redb,fjall"), "redb+fjall");
        assert_eq!(peers_of("kv --peers=redb --rounds 3 --peers fjall"), "redb+fjall");
        assert_eq!(peers_of("kv --rounds 3"), "");
        assert_eq!(peers_of("kv --peers"), "");
    }
}
