//! Project automation: `cargo xtask COMMAND`. Standard library only, so that it builds in seconds.

mod bench;
mod check;
mod crash;
mod fuzz;
mod loom;
mod run;
mod sanitize;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  check [--skip STEP,…]    what every change must pass; steps: fmt, tidy, clippy, doc, deny
                           (deny only where cargo-deny is installed)
  tidy                     the house rules alone: edges, imports, unsafe, modules, invariants, links, text
  loom [CRATE…]            model-check every crate that has tests/loom.rs, or the named ones
  crash [--seeds N]        power cuts on the simulated file system, default 3000 seeds: a million states
  kill [--seeds N]         kill -9 of a real import, fifty times or more a seed, default 20 seeds
  fuzz [TARGET…] [--seconds N]
                           fuzz the decoders, default 60 s a target
  asan [CRATE…]            tests under the address sanitizer, default memtable (nightly)
  tsan [CRATE…]            tests under the thread sanitizer, default memtable, sstable, wal and engine
                           (nightly with rust-src)
  bench SUITE,… [--peers A,B] [--rounds N] [--scale X] [--durability CLASS] [--json FILE] …
                           measure side by side; `all` for every suite; more options: bench --help
  bench --list             suites, their cases, and what can be measured beside ours
  bench smoke [--peers A,B]
                           every suite at a tiny size, to see that it works
  bench compare OLD.json NEW.json
                           what changed between two records beyond their noise

Environment: LOOM_MAX_PREEMPTIONS (2) and LOOM_MAX_BRANCHES (10000) bound the models.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "check" => check::run(&args),
        "tidy" => tidy::run(&args),
        "loom" => loom::run(&args),
        "crash" => crash::power_cuts(&args),
        "kill" => crash::kills(&args),
        "fuzz" => fuzz::run(&args),
        "asan" => sanitize::address(&args),
        "tsan" => sanitize::thread(&args),
        "bench" => bench::run(&args),
        "" | "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no command `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
