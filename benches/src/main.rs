//! `cargo xtask bench`: measures engines side by side.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stratalog_benches::engine::{self, Config, Durability, OURS};
use stratalog_benches::report::Report;
use stratalog_benches::round::{self, CHILD, Plan};
use stratalog_benches::{Outcome, kv};

/// Measures Stratalog beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Args {
    /// What is measured
    #[arg(default_value = "kv", value_parser = ["kv"])]
    suite: String,
    /// Engines to measure beside ours, each also a cargo feature
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Fraction or multiple of the suite's size
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each engine is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// none, process, interval or sync
    #[arg(long, default_value = "process")]
    durability: Durability,
    /// Where all figures of all rounds are written
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where stores are made and removed again [default: beside this program]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("a debug build measures nothing: use `cargo xtask bench`");
        return ExitCode::FAILURE;
    }
    let mut args = std::env::args().skip(1);
    let outcome = match (args.next(), args.next()) {
        (Some(flag), Some(task)) if flag == CHILD => child(&task),
        _ => bench(Args::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn child(task: &str) -> Outcome<()> {
    let done = kv::perform(&serde_json::from_str(task)?)?;
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

fn bench(args: Args) -> Outcome<()> {
    let engines: Vec<String> = std::iter::once(OURS.to_owned()).chain(args.peers).collect();
    for name in &engines {
        engine::check(name)?;
    }
    let dir = match args.dir {
        Some(dir) => dir,
        None => std::env::current_exe()?.with_file_name("bench-stores"),
    };
    std::fs::create_dir_all(&dir)?;
    let plan = Plan {
        engines,
        rounds: args.rounds.max(1),
        entries: ((kv::ENTRIES as f64 * args.scale) as u64).max(1_000),
        config: Config::new(args.durability),
        dir,
    };
    let runs = round::run(&plan)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let report = Report::new(format!("cargo xtask bench {}", words.join(" ")), &plan, runs);
    print!("{report}");
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}
