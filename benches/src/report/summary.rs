//! [`Summary`]: the runs of a record sorted into steps and subjects, and figures over rounds.

use crate::engine::Durability;
use crate::record::{CaseInfo, Record, Run, Step};
use crate::report::quantity::Quantity;
use crate::subjects::OURS;

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
    pub(crate) subjects: Vec<&'a str>,
    pub(crate) steps: Vec<StepSummary<'a>>,
    pub(crate) failures: Vec<Failure<'a>>,
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
    /// The class of the writes; if rounds differ, the weakest.
    pub(crate) class: Durability,
    /// Whether the class is weaker than the one of ours.
    pub(crate) weaker: bool,
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
        let version = |subject| {
            let found = self.record.subjects.iter().find(|(name, _)| name == subject);
            found.map_or("", |(_, version)| version.as_str())
        };
        let names = in_order(self.record, &runs).into_iter();
        names.map(|subject| (subject, version(subject))).collect()
    }
}

impl<'a> SuiteSummary<'a> {
    /// Whoever took part in some case beside ours.
    pub(crate) fn peers(&self) -> Vec<&'a str> {
        let mut peers: Vec<&str> = Vec::new();
        for subject in self.cases.iter().flat_map(|case| &case.subjects) {
            if *subject != OURS && !peers.contains(subject) {
                peers.push(subject);
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
        let subjects = in_order(record, &runs);
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
fn step_names<'a>(subjects: &[&str], runs: &[&'a Run]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for subject in subjects {
        for run in runs.iter().filter(|run| run.subject == *subject) {
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
    fn new(name: &'a str, subjects: &[&'a str], runs: &[&'a Run]) -> Option<StepSummary<'a>> {
        let row = |subject: &&'a str| {
            let runs = runs.iter().filter(|run| run.subject == **subject);
            let steps = runs.filter_map(|run| {
                let step = run.steps.iter().find(|step| step.name == name)?;
                Some((run.round, step))
            });
            let rounds: Vec<(usize, &Step)> = steps.collect();
            let class = rounds.iter().map(|(_, step)| step.class).min()?;
            Some(Row { subject, class, weaker: false, rounds })
        };
        let mut rows: Vec<Row> = subjects.iter().filter_map(row).collect();
        let ours = rows.iter().find(|row| row.subject == OURS).map(|row| row.class);
        for row in &mut rows {
            row.weaker = ours.is_some_and(|ours| row.class < ours);
        }
        let (_, first) = rows.first()?.rounds.first()?;
        Some(StepSummary { name, unit: &first.unit, threads: first.threads, rows })
    }

    pub(crate) fn row(&self, subject: &str) -> Option<&Row<'a>> {
        self.rows.iter().find(|row| row.subject == subject)
    }

    /// How many times better ours was than `peer`, each round for itself: above 1 ours is better,
    /// whether more or less of the quantity is.
    pub(crate) fn ratio(&self, peer: &Row, quantity: Quantity) -> Option<Spread> {
        let ours = self.row(OURS)?;
        let pairs = ours.rounds.iter().filter_map(|(round, ours)| {
            let (_, peer) = peer.rounds.iter().find(|(other, _)| other == round)?;
            let ratio = quantity.of(ours)? / quantity.of(peer)?;
            Some(if quantity.more_is_better() { ratio } else { 1.0 / ratio })
        });
        Spread::of(pairs)
    }
}

impl<'a> Row<'a> {
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
    fn weaker_classes_are_marked() {
        let record = record(&[
            Sample::new("stratalog", &[1.0]),
            Sample { class: Durability::None, ..Sample::new("weak", &[1.0]) },
            Sample { class: Durability::Sync, ..Sample::new("strong", &[1.0]) },
        ]);
        let summary = Summary::new(&record);
        let rows = &summary.suites[0].cases[0].steps[0].rows;
        assert_eq!(rows.iter().map(|row| row.weaker).collect::<Vec<_>>(), [false, true, false]);
    }
}
