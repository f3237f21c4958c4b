//! [`Summary`]: the runs of a record sorted into steps and subjects, and figures over rounds.

use std::cmp::Ordering;
use std::fmt;

use crate::engine::Durability;
use crate::record::{CaseInfo, Record, Run, Step};
use crate::report::quantity::Quantity;
use crate::subjects::OURS;

/// Shorter steps say nothing about a rate.
pub(crate) const LEAST_SECONDS: f64 = 0.01;
/// Less processor time, which the kernel counts in ticks, says nothing about its cost.
pub(crate) const LEAST_CPU_SECONDS: f64 = 0.3;
/// Who did this part of the calls that were due kept the pace.
pub(crate) const KEPT: f64 = 0.98;

/// A record, sorted.
pub(crate) struct Summary<'a> {
    pub(crate) record: &'a Record,
    pub(crate) suites: Vec<SuiteSummary<'a>>,
}

/// A suite and its cases, in the order of the record.
pub(crate) struct SuiteSummary<'a> {
    pub(crate) name: &'a str,
    pub(crate) about: &'a str,
    pub(crate) cases: Vec<CaseSummary<'a>>,
}

/// A case.
pub(crate) struct CaseSummary<'a> {
    pub(crate) info: &'a CaseInfo,
    /// Who took part, ours first.
    pub(crate) subjects: Vec<Subject<'a>>,
    pub(crate) steps: Vec<StepSummary<'a>>,
    pub(crate) failures: Vec<Failure<'a>>,
}

/// Something that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    /// Whether it tells what the work costs by itself, rather than that somebody does it better.
    pub(crate) baseline: bool,
}

impl<'a> Subject<'a> {
    /// The subject of this name in `record`. What has no version there is a baseline.
    pub(crate) fn new(record: &Record, name: &'a str) -> Subject<'a> {
        Subject { name, baseline: name != OURS && version(record, name).is_empty() }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.name, if self.baseline { " (baseline)" } else { "" }))
    }
}

fn version<'a>(record: &'a Record, subject: &str) -> &'a str {
    let found = record.subjects.iter().find(|(name, _)| name == subject);
    found.map_or("", |(_, version)| version.as_str())
}

/// A subject that did not do all steps.
pub(crate) struct Failure<'a> {
    pub(crate) subject: &'a str,
    pub(crate) why: &'a str,
    /// In how many rounds.
    pub(crate) rounds: usize,
}

/// A step of a case.
pub(crate) struct StepSummary<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) threads: usize,
    /// A row for each subject that did it, ours first.
    pub(crate) rows: Vec<Row<'a>>,
}

/// What a subject did for a step in all rounds.
pub(crate) struct Row<'a> {
    pub(crate) subject: &'a str,
    /// Whether it is a baseline, which is shown and not judged.
    pub(crate) baseline: bool,
    /// The class of the writes; if rounds differ, the weakest. None: nothing was written.
    pub(crate) class: Option<Durability>,
    /// The class beside the one of ours; equal where one of them has none.
    pub(crate) beside_ours: Ordering,
    /// The step, and its round.
    pub(crate) rounds: Vec<(usize, &'a Step)>,
}

/// A figure over rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Over how many rounds.
    pub(crate) rounds: usize,
}

impl Spread {
    /// Of all values that are numbers; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let rounds = values.len();
        let (least, most) = (*values.first()?, *values.last()?);
        let median = (values[(rounds - 1) / 2] + values[rounds / 2]) / 2.0;
        Some(Spread { median, least, most, rounds })
    }

    /// This, nothing in it less than `floor`.
    pub(crate) fn at_least(self, floor: f64) -> Spread {
        let Spread { median, least, most, rounds } = self;
        Spread { median: median.max(floor), least: least.max(floor), most: most.max(floor), rounds }
    }

    /// From least to most, as a part of the median.
    pub(crate) fn relative(&self) -> f64 {
        (self.most - self.least) / self.median.abs()
    }
}

impl<'a> Summary<'a> {
    pub(crate) fn new(record: &'a Record) -> Summary<'a> {
        let mut suites: Vec<SuiteSummary> = Vec::new();
        for info in &record.cases {
            let case = CaseSummary::new(record, info);
            match suites.iter_mut().find(|suite| suite.name == info.suite) {
                Some(suite) => suite.cases.push(case),
                None => suites.push(SuiteSummary {
                    name: &info.suite,
                    about: &info.about_suite,
                    cases: vec![case],
                }),
            }
        }
        Summary { record, suites }
    }

    /// Every case, with its suite's name.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &CaseSummary<'a>> {
        self.suites.iter().flat_map(|suite| &suite.cases)
    }

    /// Subjects that appear in the runs, ours first, and the version of each; baselines have none.
    pub(crate) fn subjects(&self) -> Vec<(&'a str, &'a str)> {
        let runs: Vec<&Run> = self.record.runs.iter().collect();
        let names = in_order(self.record, &runs).into_iter();
        names.map(|subject| (subject, version(self.record, subject))).collect()
    }
}

impl<'a> SuiteSummary<'a> {
    /// Whoever took part in some case beside ours; baselines are among them.
    pub(crate) fn others(&self) -> Vec<Subject<'a>> {
        let mut peers: Vec<Subject> = Vec::new();
        for subject in self.cases.iter().flat_map(|case| &case.subjects) {
            if subject.name != OURS && !peers.contains(subject) {
                peers.push(*subject);
            }
        }
        peers
    }
}

/// The subjects of `runs`: ours, then as the record lists them, then others as they come.
fn in_order<'a>(record: &'a Record, runs: &[&'a Run]) -> Vec<&'a str> {
    let listed = record.subjects.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = Vec::new();
    let met = |name: &str| runs.iter().any(|run| run.subject == name);
    let every = [OURS].into_iter().chain(listed).filter(|name| met(name));
    for name in every.chain(runs.iter().map(|run| run.subject.as_str())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl<'a> CaseSummary<'a> {
    fn new(record: &'a Record, info: &'a CaseInfo) -> CaseSummary<'a> {
        let of_case = |run: &&Run| run.suite == info.suite && run.case == info.case;
        let runs: Vec<&Run> = record.runs.iter().filter(of_case).collect();
        let subjects = in_order(record, &runs).into_iter();
        let subjects: Vec<Subject> = subjects.map(|name| Subject::new(record, name)).collect();
        let mut failures: Vec<Failure> = Vec::new();
        for run in &runs {
            let Some(why) = &run.failed else { continue };
            match failures.iter_mut().find(|f| f.subject == run.subject && f.why == why) {
                Some(failure) => failure.rounds += 1,
                None => failures.push(Failure { subject: &run.subject, why, rounds: 1 }),
            }
        }
        let steps = step_names(&subjects, &runs).into_iter();
        let steps = steps.filter_map(|name| StepSummary::new(name, &subjects, &runs)).collect();
        CaseSummary { info, subjects, steps, failures }
    }

    /// Whether `subject` failed in some round.
    pub(crate) fn failed(&self, subject: &str) -> bool {
        self.failures.iter().any(|failure| failure.subject == subject)
    }
}

/// Names of steps in the order in which they were done; what only others did stands behind what it
/// followed.
fn step_names<'a>(subjects: &[Subject], runs: &[&'a Run]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for subject in subjects {
        for run in runs.iter().filter(|run| run.subject == subject.name) {
            let mut at = 0;
            for step in &run.steps {
                match names.iter().position(|name| *name == step.name) {
                    Some(known) => at = known + 1,
                    None => {
                        names.insert(at, &step.name);
                        at += 1;
                    }
                }
            }
        }
    }
    names
}

impl<'a> StepSummary<'a> {
    fn new(name: &'a str, subjects: &[Subject<'a>], runs: &[&'a Run]) -> Option<StepSummary<'a>> {
        let row = |subject: &Subject<'a>| {
            let runs = runs.iter().filter(|run| run.subject == subject.name);
            let steps = runs.filter_map(|run| {
                let step = run.steps.iter().find(|step| step.name == name)?;
                Some((run.round, step))
            });
            let rounds: Vec<(usize, &Step)> = steps.collect();
            let class = rounds.iter().filter_map(|(_, step)| step.class).min();
            let Subject { name: subject, baseline } = *subject;
            let row = Row { subject, baseline, class, beside_ours: Ordering::Equal, rounds };
            (!row.rounds.is_empty()).then_some(row)
        };
        let mut rows: Vec<Row> = subjects.iter().filter_map(row).collect();
        let ours = rows.iter().find(|row| row.subject == OURS).and_then(|row| row.class);
        for row in &mut rows {
            let classes = row.class.zip(ours);
            row.beside_ours = classes.map_or(Ordering::Equal, |(class, ours)| class.cmp(&ours));
        }
        let (_, first) = rows.first()?.rounds.first()?;
        Some(StepSummary { name, unit: &first.unit, threads: first.threads, rows })
    }

    pub(crate) fn row(&self, subject: &str) -> Option<&Row<'a>> {
        self.rows.iter().find(|row| row.subject == subject)
    }

    /// How many times better ours was than `peer`, each round for itself: above 1 ours is better,
    /// whether more or less of the quantity is. `None` also where it would say nothing.
    pub(crate) fn ratio(&self, peer: &Row, quantity: Quantity) -> Option<Spread> {
        let ours = self.row(OURS)?;
        let kept = quantity == Quantity::Rate && ours.kept_pace() && peer.kept_pace();
        if kept || !ours.tells(quantity) || !peer.tells(quantity) {
            return None;
        }
        // Who did less has less in memory and on disk.
        let held = matches!(quantity, Quantity::Peak | Quantity::Disk);
        let pairs = ours.rounds.iter().filter_map(|(round, ours)| {
            let (_, peer) = peer.rounds.iter().find(|(other, _)| other == round)?;
            let ratio = quantity.times_better(quantity.of(ours)?, quantity.of(peer)?)?;
            (!held || ours.ops == peer.ops).then_some(ratio)
        });
        Spread::of(pairs)
    }
}

impl<'a> Row<'a> {
    /// Who it is.
    pub(crate) fn who(&self) -> Subject<'a> {
        Subject { name: self.subject, baseline: self.baseline }
    }

    /// Whether its class is weaker than the one of ours.
    pub(crate) fn weaker(&self) -> bool {
        self.beside_ours == Ordering::Less
    }

    /// Whether its class is stronger than the one of ours.
    pub(crate) fn stronger(&self) -> bool {
        self.beside_ours == Ordering::Greater
    }

    /// Whether calls were due at a pace, and nearly all were done when they were.
    fn kept_pace(&self) -> bool {
        self.median(|step| Some(step.rate() / step.pace?)).is_some_and(|part| part >= KEPT)
    }

    /// Whether enough was done that the quantity tells something. Where calls are due at a pace, whoever
    /// makes them spins until the next: processor time is mostly its own.
    fn tells(&self, quantity: Quantity) -> bool {
        let at_least = |value: fn(&Step) -> f64, least: f64| {
            self.median(|step| Some(value(step))).is_some_and(|value| value >= least)
        };
        let paced = || self.rounds.iter().any(|(_, step)| step.pace.is_some());
        match quantity {
            // Of a single call the time is the figure, however short.
            Quantity::Rate => {
                self.rounds.iter().all(|(_, step)| step.latency.is_none())
                    || at_least(|step| step.seconds, LEAST_SECONDS)
            }
            Quantity::Cpu => !paced() && at_least(|step| step.cpu_seconds, LEAST_CPU_SECONDS),
            _ => true,
        }
    }

    /// A quantity over rounds.
    pub(crate) fn spread(&self, quantity: Quantity) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|(_, step)| quantity.of(step)))
    }

    /// The median of anything over rounds.
    pub(crate) fn median(&self, value: impl Fn(&Step) -> Option<f64>) -> Option<f64> {
        let values = self.rounds.iter().filter_map(|(_, step)| value(step));
        Spread::of(values).map(|spread| spread.median)
    }

    /// The step of the round whose rate is nearest to the median.
    pub(crate) fn middle(&self) -> Option<&'a Step> {
        let median = self.spread(Quantity::Rate)?.median;
        let far = |step: &Step| (step.rate() - median).abs();
        let steps = self.rounds.iter().map(|(_, step)| *step);
        steps.min_by(|a, b| far(a).total_cmp(&far(b)))
    }

    /// Further figures, the median of each.
    pub(crate) fn figures(&self) -> Vec<(&'a str, f64)> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.rounds.iter().flat_map(|(_, step)| &step.figures) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let figure = |step: &Step, wanted: &str| {
            step.figures.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
        };
        let medians = names.into_iter();
        medians.filter_map(|name| Some((name, self.median(|step| figure(step, name))?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, record};

    #[test]
    fn spread_is_least_median_most() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, least: 1.0, most: 3.0, rounds: 3 });
        assert_eq!(spread.relative(), 1.0);
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine halves its speed in the second round, and doubles it in the third.
        let ours = [200.0, 100.0, 400.0];
        let peer = [100.0, 50.0, 200.0];
        let record = record(&[Sample::new("stratalog", &ours), Sample::new("peer", &peer)]);
        let summary = Summary::new(&record);
        let step = &summary.suites[0].cases[0].steps[0];
        let ratio = step.ratio(&step.rows[1], Quantity::Rate).unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 2.0));
        assert_eq!(step.rows[0].spread(Quantity::Rate).unwrap().median, 200.0);
        // Of what should be little, the ratio is turned round: the sample's latencies go with 1/rate.
        let ratio = step.ratio(&step.rows[1], Quantity::P99).unwrap();
        assert!((ratio.median - 2.0).abs() < 1e-9, "{ratio:?}");
    }

    #[test]
    fn a_round_that_one_side_lacks_is_left_out_of_ratios() {
        let mut record = record(&[
            Sample::new("stratalog", &[100.0, 100.0, 900.0]),
            Sample::new("peer", &[100.0, 100.0, 100.0]),
        ]);
        let last = record.runs.iter_mut().rfind(|run| run.subject == "peer").unwrap();
        last.steps.clear();
        last.failed = Some("torn".to_owned());
        let summary = Summary::new(&record);
        let case = &summary.suites[0].cases[0];
        let ratio = case.steps[0].ratio(&case.steps[0].rows[1], Quantity::Rate).unwrap();
        assert_eq!((ratio.median, ratio.rounds), (1.0, 2));
        assert!(case.failed("peer") && !case.failed("stratalog"));
        assert_eq!((case.failures[0].why, case.failures[0].rounds), ("torn", 1));
    }

    #[test]
    fn classes_stand_beside_the_one_of_ours() {
        let record = record(&[
            Sample::new("stratalog", &[1.0]),
            Sample { class: Some(Durability::None), ..Sample::new("weak", &[1.0]) },
            Sample { class: Some(Durability::Sync), ..Sample::new("strong", &[1.0]) },
            Sample { class: None, ..Sample::new("reader", &[1.0]) },
        ]);
        let summary = Summary::new(&record);
        let rows = &summary.suites[0].cases[0].steps[0].rows;
        let found: Vec<_> = rows.iter().map(|row| (row.weaker(), row.stronger())).collect();
        assert_eq!(found, [(false, false), (true, false), (false, true), (false, false)]);
    }

    /// The ratio of ours to a peer for two steps of 100 units a second, after `change`.
    fn ratio_after(quantity: Quantity, change: impl Fn(&mut Step, bool)) -> Option<f64> {
        let names = ["stratalog", "peer"];
        let mut record = record(&names.map(|name| Sample::new(name, &[100.0])));
        for run in &mut record.runs {
            change(&mut run.steps[0], run.subject == OURS);
        }
        let summary = Summary::new(&record);
        let step = &summary.suites[0].cases[0].steps[0];
        step.ratio(&step.rows[1], quantity).map(|spread| spread.median)
    }

    #[test]
    fn what_says_nothing_has_no_ratio() {
        let (rate, cpu) = (Quantity::Rate, Quantity::Cpu);
        assert_eq!(ratio_after(rate, |_, _| ()), Some(1.0));
        // Both keep the pace; one does not.
        assert_eq!(ratio_after(rate, |step, _| step.pace = Some(101.0)), None);
        let late = |step: &mut Step, ours: bool| {
            step.pace = Some(100.0);
            step.ops /= if ours { 2 } else { 1 };
        };
        assert_eq!(ratio_after(rate, late), Some(0.5));
        assert_eq!(ratio_after(cpu, |_, _| ()), Some(1.0));
        assert_eq!(ratio_after(cpu, |step, ours| step.pace = ours.then_some(1.0)), None);
        // Too short, or too little.
        assert_eq!(
            ratio_after(rate, |step, ours| step.seconds = if ours { 0.004 } else { 9.0 }),
            None
        );
        // The time of a single call is what is measured.
        let single = |step: &mut Step, ours: bool| {
            step.latency = None;
            step.seconds = if ours { 0.004 } else { 0.001 };
        };
        assert_eq!(ratio_after(rate, single), Some(0.25));
        assert_eq!(
            ratio_after(cpu, |step, ours| step.cpu_seconds = if ours { 9.0 } else { 0.2 }),
            None
        );
        // What is held is compared where both did as much.
        for held in [Quantity::Peak, Quantity::Disk] {
            assert_eq!(ratio_after(held, |_, _| ()), Some(1.0));
            assert_eq!(ratio_after(held, |step, ours| step.ops += u64::from(ours)), None);
        }
    }

    #[test]
    fn who_writes_nothing_is_ahead() {
        let wrote = |ours_bytes, peer_bytes| {
            ratio_after(Quantity::Written, |step, ours| {
                step.ops = 100;
                step.written_bytes = if ours { ours_bytes } else { peer_bytes };
            })
        };
        assert_eq!(wrote(100, 0), Some(0.01));
        assert_eq!(wrote(0, 100), Some(100.0));
        assert_eq!(wrote(0, 0), None);
    }
}
