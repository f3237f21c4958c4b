//! `bench`: builds the bench package in release, with the peers asked for, and runs it.

use crate::run::{self as commands, Outcome, cargo};

/// The sub-command. Options are the bench program's own; peers are cargo features, too.
pub fn run(args: &[String]) -> Outcome {
    let mut command = cargo(["run", "--release", "--quiet", "-p", "stratalog-benches"]);
    if let Some(peers) = peers(args) {
        command.args(["--features", peers]);
    }
    commands::run(command.arg("--").args(args))
}

/// The value of `--peers`, in either of the ways in which it can be given.
fn peers(args: &[String]) -> Option<&str> {
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--peers="));
    let place = args.iter().position(|arg| arg == "--peers");
    joined.or_else(|| args.get(place? + 1).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_among_other_options() {
        let peers_of = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            peers(&words).map(str::to_owned)
        };
        assert_eq!(peers_of("kv --rounds 3 --peers redb,fjall"), Some("redb,fjall".to_owned()));
        assert_eq!(peers_of("kv --peers=redb --rounds 3"), Some("redb".to_owned()));
        assert_eq!(peers_of("kv --rounds 3"), None);
        assert_eq!(peers_of("kv --peers"), None);
    }
}
