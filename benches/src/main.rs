//! `cargo xtask bench`: measures side by side, reports, compares.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::{Parser, Subcommand};
use stratalog_benches::engine::Durability;
use stratalog_benches::machine::Machine;
use stratalog_benches::plan::Plan;
use stratalog_benches::record::{CaseInfo, Record};
use stratalog_benches::round::{self, CHILD};
use stratalog_benches::suite::{self, Case, SUITES, Suite};
use stratalog_benches::{Outcome, compare, report, subjects};

/// Measures Stratalog beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Suites, separated by commas, or `all`
    #[arg(value_delimiter = ',', required_unless_present = "list")]
    suites: Vec<String>,
    /// Lists suites, their cases, and what can be measured beside ours
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Says what changed between two records beyond their noise
    Compare {
        /// The earlier record
        old: PathBuf,
        /// The later record
        new: PathBuf,
    },
    /// Makes the table, Markdown and page of a record once more
    Report {
        /// The record
        record: PathBuf,
    },
    /// Runs every suite at a tiny size, to see that it works
    Smoke {
        #[command(flatten)]
        options: Options,
    },
}

#[derive(clap::Args)]
struct Options {
    /// What is measured beside ours, each also a cargo feature
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Only cases whose name holds one of these words
    #[arg(long = "case", value_delimiter = ',')]
    case_words: Vec<String>,
    /// Fraction or multiple of the suites' sizes
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each case is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The class of writes: none, process, interval or sync [default: each suite's own]
    #[arg(long)]
    durability: Option<Durability>,
    /// An open loop: calls a second of all threads together, latency from when each was due
    #[arg(long, value_name = "CALLS_PER_SECOND")]
    rate: Option<f64>,
    /// Where all figures of all rounds are written; Markdown and a page go beside [default:
    /// target/bench/SUITES.json]
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
        (Some(flag), Some(task)) if flag == CHILD => round::perform(&task),
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

fn bench(args: Args) -> Outcome<()> {
    match args.command {
        Some(Command::Compare { old, new }) => {
            print!("{}", compare::compare(&read(&old)?, &read(&new)?));
            Ok(())
        }
        Some(Command::Report { record: json }) => {
            let record = read(&json)?;
            print!("{}", report::text(&record));
            write_reports(&record, &json)
        }
        Some(Command::Smoke { options }) => {
            let plan = options.plan(options.scale * SMOKE_SCALE)?;
            let plan = Plan { rounds: 1, step: SMOKE_STEP, limit: SMOKE_LIMIT, ..plan };
            measure(&plan, "smoke", &all(), &options)
        }
        None if args.list => {
            list(&args.options.plan(1.0)?);
            Ok(())
        }
        None => {
            let every = args.suites.iter().any(|name| name == "all");
            let named = || args.suites.iter().map(|name| suite::find(name)).collect();
            let suites = if every { Ok(all()) } else { named() }?;
            let plan = args.options.plan(args.options.scale)?;
            measure(&plan, &args.suites.join("+"), &suites, &args.options)
        }
    }
}

/// Part of the full size, a step's time, and its limit in a smoke run: what hangs is to be known soon.
const SMOKE_SCALE: f64 = 0.001;
const SMOKE_STEP: Duration = Duration::from_millis(20);
const SMOKE_LIMIT: Duration = Duration::from_secs(3);

fn all() -> Vec<&'static Suite> {
    SUITES.to_vec()
}

impl Options {
    fn plan(&self, scale: f64) -> Outcome<Plan> {
        for peer in &self.peers {
            let known = subjects::all();
            if !known.iter().any(|(name, _)| name == peer) {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "`{peer}` was not built in (there are: {}); peers are cargo features",
                    names.join(", ")
                )
                .into());
            }
        }
        Ok(Plan {
            peers: self.peers.clone(),
            rounds: self.rounds.max(1),
            scale,
            durability: self.durability,
            calls_per_second: self.rate,
            step: Duration::from_secs(2),
            limit: Duration::from_secs(60),
        })
    }

    fn wants(&self, case: &Case) -> bool {
        self.case_words.is_empty() || self.case_words.iter().any(|word| case.name.contains(word))
    }
}

fn list(plan: &Plan) {
    for suite in SUITES {
        println!("{:11} {}", suite.name, suite.about);
        for case in (suite.cases)(plan) {
            println!("            {:24} {}", case.name, case.about);
        }
    }
    let built_in: Vec<String> =
        subjects::all().iter().map(|(name, v)| format!("{name} {v}")).collect();
    println!("\nbuilt in: {}", built_in.join(", "));
    println!("peers (cargo features): {PEERS}");
}

/// The peers that a build can have.
const PEERS: &str = "rocksdb, fjall, redb, lmdb, surrealkv, sled; logs: okaywal, raft-log; memtable: \
                     crossbeam-skiplist";

/// Measures, prints the table, and writes the record and its reports.
fn measure(plan: &Plan, name: &str, suites: &[&'static Suite], options: &Options) -> Outcome<()> {
    let wanted = suites.iter().map(|suite| {
        let cases = (suite.cases)(plan).into_iter().filter(|case| options.wants(case));
        (*suite, cases.collect::<Vec<Case>>())
    });
    let wanted: Vec<(&Suite, Vec<Case>)> = wanted.collect();
    let beside =
        |name: &str| -> Outcome<PathBuf> { Ok(std::env::current_exe()?.with_file_name(name)) };
    let dir = options.dir.clone().map_or_else(|| beside("bench-stores"), Ok)?;
    std::fs::create_dir_all(&dir)?;
    let json =
        options.json.clone().unwrap_or_else(|| PathBuf::from(format!("target/bench/{name}.json")));
    if let Some(parent) = json.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let (start, words) = (Instant::now(), std::env::args().skip(1).collect::<Vec<String>>());
    let mut record = Record {
        command: format!("cargo xtask bench {}", words.join(" ")),
        began: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        seconds: 0.0,
        machine: Machine::here(&dir),
        subjects: subjects::all().into_iter().map(|(name, v)| (name.to_owned(), v)).collect(),
        rounds: 0,
        cases: wanted.iter().flat_map(|(suite, cases)| infos(suite, cases)).collect(),
        runs: Vec::new(),
    };
    round::run(plan, &wanted, &dir, |runs, rounds| {
        record.runs = runs.to_vec();
        record.rounds = rounds;
        record.seconds = start.elapsed().as_secs_f64();
        Ok(std::fs::write(&json, serde_json::to_string(&record)?)?)
    })?;
    print!("{}", report::text(&record));
    println!("\nwritten: {}", json.display());
    write_reports(&record, &json)?;
    let failed = record.runs.iter().filter(|run| run.failed.is_some()).count();
    if failed > 0 {
        Err(format!("{failed} of {} runs failed", record.runs.len()).into())
    } else {
        Ok(())
    }
}

fn infos<'a>(suite: &'a Suite, cases: &'a [Case]) -> impl Iterator<Item = CaseInfo> {
    cases.iter().map(|case| CaseInfo {
        suite: suite.name.to_owned(),
        about_suite: suite.about.to_owned(),
        case: case.name.clone(),
        about: case.about.clone(),
    })
}

fn write_reports(record: &Record, json: &Path) -> Outcome<()> {
    let (markdown, page) = (json.with_extension("md"), json.with_extension("html"));
    std::fs::write(&markdown, report::markdown(record))?;
    std::fs::write(&page, report::html(record))?;
    println!("written: {}, {}", markdown.display(), page.display());
    Ok(())
}

fn read(json: &Path) -> Outcome<Record> {
    let text = std::fs::read_to_string(json).map_err(|why| format!("{}: {why}", json.display()))?;
    Ok(serde_json::from_str(&text)?)
}
