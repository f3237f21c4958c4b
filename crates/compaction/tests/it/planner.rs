//! The planner against the text cases in `cases/planner.txt`. A case is a tree, what is busy, and the
//! plan. `STRATALOG_REWRITE=1` writes the plans that come out into the file, to be read as a diff.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use stratalog_compaction::{Plan, Policy, plan, plan_all};
use stratalog_sstable::TableSummary;

use crate::shape::parse;

/// Small numbers, so that cases stay short: 4 tables in level 0; 100 MiB, 1 000 MiB, … below.
const POLICY: Policy = Policy { level0_tables: 4, level1_bytes: 100 << 20, multiplier: 10 };

fn show(plan: Option<Plan<TableSummary>>) -> String {
    let Some(plan) = plan else { return "nothing\n".into() };
    let mut text = String::new();
    for (level, tables) in &plan.inputs {
        let ids: Vec<_> = tables.iter().map(|table| format!("#{}", table.id)).collect();
        writeln!(text, "take {} from {level}", ids.join(" ")).unwrap();
    }
    let how = if plan.trivial_move().is_some() { "move" } else { "merge" };
    writeln!(text, "{how} to {}", plan.target).unwrap();
    text
}

/// The outcome of one case's input: an optional line `busy #ID…` or `all`, then the tree.
fn run(input: &str) -> String {
    let mut busy = HashSet::new();
    let mut all = false;
    let mut tree = String::new();
    for line in input.lines() {
        match line.split_once(' ') {
            Some(("busy", ids)) => {
                let ids = ids.split_whitespace().map(|id| id.trim_start_matches('#'));
                busy.extend(ids.map(|id| id.parse::<u64>().expect("an id")));
            }
            _ if line == "all" => all = true,
            _ => writeln!(tree, "{line}").unwrap(),
        }
    }
    let version = parse(&tree);
    show(if all { plan_all(&version, &busy) } else { plan(&version, &POLICY, &busy) })
}

#[test]
fn plans_are_those_of_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases/planner.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut rewritten = String::new();
    for case in text.split("\n\n") {
        let (head, _) = case.split_once("----").expect("a case has a ---- line");
        let (comment, input): (Vec<_>, Vec<_>) =
            head.lines().partition(|line| line.starts_with('#'));
        let outcome = run(&input.join("\n"));
        let separator = if rewritten.is_empty() { "" } else { "\n" };
        write!(
            rewritten,
            "{separator}{}\n{}\n----\n{outcome}",
            comment.join("\n"),
            input.join("\n")
        )
        .unwrap();
    }
    if std::env::var_os("STRATALOG_REWRITE").is_some() {
        std::fs::write(&path, rewritten).unwrap();
    } else {
        assert_eq!(text, rewritten, "run with STRATALOG_REWRITE=1 and read the diff");
    }
}

#[test]
fn busy_tables_are_left_alone() {
    let version = parse("0: a..z 1\n0: a..z 1\n0: a..z 1\n0: a..z 1\n1: a..m 60\n1: n..z 60");
    for id in 1..=6 {
        let busy = HashSet::from([id]);
        let found = plan(&version, &POLICY, &busy);
        assert!(found.is_none_or(|plan| plan.ids().all(|input| input != id)), "PLAN-3: #{id}");
    }
}
