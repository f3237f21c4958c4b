//! The planner against the text cases in `cases/planner.txt`, and on random trees. A case is a tree and the
//! plan. `STRATALOG_REWRITE=1` writes the plans that come out into the file, to be read as a diff.

use std::fmt::Write;
use std::path::Path;

use stratalog_base::fs::SimRng;
use stratalog_compaction::{LEVELS, Plan, Policy, Version, VersionEdit, is_due, plan, plan_all};
use stratalog_sstable::{TableSummary, ValueRef};

use crate::shape::{parse, summary, values};

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

/// The outcome of one case's input: the tree, perhaps behind a line `all`.
fn run(input: &str) -> String {
    let (all, tree) = match input.strip_prefix("all") {
        Some(tree) => (true, tree.trim_start()),
        None => (false, input),
    };
    let version = parse(tree);
    show(if all { plan_all(&version) } else { plan(&version, &POLICY) })
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

/// A tree of up to three tables in each level, some levels empty, and some of its tables with references to
/// value files, of which some are mostly garbage.
fn random_tree(rng: &mut SimRng) -> Version<TableSummary> {
    let mut edit = VersionEdit::default();
    let (mut id, files) = (0, rng.below(3));
    let mut live = [0; 3];
    for level in (0..LEVELS).rev() {
        let mut first = rng.below(8);
        for _ in 0..rng.below(4) {
            let last = first + rng.below(6);
            id += 1;
            let mib = rng.below(if level == 0 { 10 } else { 60 * 10_u64.pow(level as u32 - 1) });
            let mut table = summary(id, &format!("{first:02}"), &format!("{last:02}"), mib);
            for file in (0..files).filter(|_| rng.chance(1, 8)) {
                table.value_refs.push(ValueRef { file, bytes: 1 << 20 });
                live[file as usize] += 1;
            }
            edit.added.push((level, table));
            first = last + 1 + rng.below(4);
        }
    }
    let used = (0..files).filter(|&file| live[file as usize] > 0);
    edit.added_values =
        used.map(|file| values(file, live[file as usize] * (1 + rng.below(3)))).collect();
    Version::default().apply(&edit, |table| Ok(table.clone()), |what| what).unwrap()
}

/// That `plan` may be run on `version`.
fn check_plan(version: &Version<TableSummary>, plan: &Plan<TableSummary>) {
    let [(level, upper), below @ ..] = &plan.inputs[..] else { panic!("a plan of nothing") };
    if *level == 0 {
        assert_eq!(upper, version.level(0), "PLAN-1");
    }
    if plan.target == *level {
        assert!(*level > 0 && upper.len() == 1 && below.is_empty(), "PLAN-3");
        return;
    }
    assert_eq!(plan.target, level + 1);
    let meets = |table: &&TableSummary| {
        let apart = |upper: &TableSummary| {
            upper.largest.user < table.smallest.user || table.largest.user < upper.smallest.user
        };
        !upper.iter().all(apart)
    };
    let taken: Vec<_> = below.iter().flat_map(|(_, tables)| tables).collect();
    let mut met = version.level(plan.target).iter().filter(meets);
    assert!(met.all(|table| taken.contains(&table)), "PLAN-2");
}

#[test]
fn something_is_due_exactly_if_there_is_a_plan_which_keeps_its_rules() {
    let (mut due_count, mut garbage_count) = (0, 0);
    for seed in 0..3_000 {
        let mut rng = SimRng::new(seed);
        let version = random_tree(&mut rng);
        let policy = Policy {
            level0_tables: rng.below(4) as usize,
            level1_bytes: rng.below(3) * (60 << 20),
            multiplier: rng.below(12),
        };
        for policy in [policy, POLICY] {
            let plan = plan(&version, &policy);
            assert_eq!(is_due(&version, &policy), plan.is_some(), "seed {seed}: {plan:?}");
            if let Some(plan) = plan {
                check_plan(&version, &plan);
                due_count += 1;
                garbage_count += u32::from(plan.inputs[0].0 == plan.target);
            }
        }
    }
    // Of 6 000: none of the outcomes is rare.
    assert!(
        (1_000..5_000).contains(&due_count) && garbage_count > 100,
        "{due_count} {garbage_count}"
    );
}
