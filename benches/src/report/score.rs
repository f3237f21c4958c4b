//! [`Score`]: ours beside every peer, step for step; who is ahead, how often, and where ours is behind.

use crate::report::quantity::Quantity;
use crate::report::summary::{CaseSummary, Row, Spread, StepSummary, SuiteSummary, Summary};
use crate::subjects::OURS;

/// A step that ours did.
pub(crate) struct Score<'a> {
    pub(crate) case: &'a CaseSummary<'a>,
    pub(crate) step: &'a StepSummary<'a>,
    pub(crate) ours: &'a Row<'a>,
    /// What is compared.
    pub(crate) quantity: Quantity,
    /// Each peer and baseline that did it, and how many times better ours was.
    pub(crate) others: Vec<(&'a Row<'a>, Spread)>,
}

/// Who is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Win,
    Tie,
    Loss,
}

/// How often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) wins: usize,
    pub(crate) ties: usize,
    pub(crate) losses: usize,
}

impl Verdict {
    /// What a ratio of ours to a peer means for `quantity`.
    pub(crate) fn of(ratio: f64, quantity: Quantity) -> Verdict {
        match 1.0 + quantity.tie() {
            beyond if ratio > beyond => Verdict::Win,
            beyond if ratio < 1.0 / beyond => Verdict::Loss,
            _ => Verdict::Tie,
        }
    }
}

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Win => self.wins += 1,
            Verdict::Tie => self.ties += 1,
            Verdict::Loss => self.losses += 1,
        }
    }

    /// Of each score against its best peer of no weaker class.
    pub(crate) fn against_best(scores: &[Score]) -> Tally {
        let mut tally = Tally::default();
        for score in scores {
            score.best().into_iter().for_each(|(_, ratio)| tally.add(score.verdict(ratio)));
        }
        tally
    }

    /// Of each score against one peer. Of a weaker class it counts, too.
    pub(crate) fn against(scores: &[Score], peer: &str) -> Tally {
        let mut tally = Tally::default();
        for score in scores {
            let found = score.judged().filter(|(row, _)| row.subject == peer);
            found.for_each(|(_, ratio)| tally.add(score.verdict(ratio)));
        }
        tally
    }

    /// How many there were.
    pub(crate) fn total(self) -> usize {
        self.wins + self.ties + self.losses
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count, one: &'static str, many| if count == 1 { one } else { many };
        let Tally { wins, ties, losses } = *self;
        let text = format!(
            "{wins} {}, {ties} {}, {losses} {}",
            plural(wins, "win", "wins"),
            plural(ties, "tie", "ties"),
            plural(losses, "loss", "losses"),
        );
        f.pad(&text)
    }
}

impl<'a> Score<'a> {
    /// The steps of one case.
    pub(crate) fn of_case(case: &'a CaseSummary<'a>, quantity: Quantity) -> Vec<Score<'a>> {
        let score = |step: &'a StepSummary<'a>| {
            let ours = step.row(OURS)?;
            let others = step.rows.iter().filter(|row| row.subject != OURS);
            let ratio = |row: &'a Row<'a>| Some((row, step.ratio(row, quantity)?));
            Some(Score { case, step, ours, quantity, others: others.filter_map(ratio).collect() })
        };
        case.steps.iter().filter_map(score).collect()
    }

    /// The steps of a suite.
    pub(crate) fn of_suite(suite: &'a SuiteSummary<'a>, quantity: Quantity) -> Vec<Score<'a>> {
        suite.cases.iter().flat_map(|case| Score::of_case(case, quantity)).collect()
    }

    /// The steps of all cases.
    pub(crate) fn of_all(summary: &'a Summary<'a>, quantity: Quantity) -> Vec<Score<'a>> {
        summary.cases().flat_map(|case| Score::of_case(case, quantity)).collect()
    }

    fn verdict(&self, ratio: &Spread) -> Verdict {
        Verdict::of(ratio.median, self.quantity)
    }

    /// Peers that ours is judged by. One of a stronger class does more for each write: to be ahead of it
    /// or level with it proves nothing, to be behind it does.
    fn judged(&self) -> impl Iterator<Item = &(&'a Row<'a>, Spread)> {
        self.others.iter().filter(|(row, ratio)| {
            !row.baseline && (!row.stronger() || self.verdict(ratio) == Verdict::Loss)
        })
    }

    /// The peer that does best among those of the same class, or of a stronger one and ahead of ours.
    pub(crate) fn best(&self) -> Option<&(&'a Row<'a>, Spread)> {
        let fair = self.judged().filter(|(row, _)| !row.weaker());
        fair.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))
    }

    /// Peers that are ahead of ours, of whatever class, the furthest first.
    pub(crate) fn ahead(&self) -> Vec<&(&'a Row<'a>, Spread)> {
        let is_loss = |ratio: &Spread| self.verdict(ratio) == Verdict::Loss;
        let mut ahead: Vec<_> = self.judged().filter(|(_, ratio)| is_loss(ratio)).collect();
        ahead.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        ahead
    }
}

/// Scores where some peer is ahead, the worst first. Peers of a weaker class are among them.
pub(crate) fn losses<'s, 'a>(scores: &'s [Score<'a>]) -> Vec<&'s Score<'a>> {
    let worst = |score: &Score| score.ahead().first().map(|(_, ratio)| ratio.median);
    let mut losses: Vec<&Score> = scores.iter().filter(|score| worst(score).is_some()).collect();
    losses.sort_by(|a, b| worst(a).unwrap_or(1.0).total_cmp(&worst(b).unwrap_or(1.0)));
    losses
}

/// Steps that some peer did and ours did not: worse than any loss.
pub(crate) fn not_done<'a>(summary: &'a Summary<'a>) -> Vec<(&'a CaseSummary<'a>, &'a str)> {
    let missing = |case: &'a CaseSummary<'a>| {
        let by_peer = |step: &StepSummary| step.rows.iter().any(|row| !row.baseline);
        let steps = case.steps.iter().filter(move |step| step.row(OURS).is_none() && by_peer(step));
        let takes_part = case.subjects.iter().any(|subject| subject.name == OURS);
        steps.filter(move |_| takes_part).map(move |step| (case, step.name))
    };
    summary.cases().flat_map(missing).collect()
}

/// What there is to say where ours is behind nobody: only with a peer beside it, it means something.
pub(crate) fn nowhere(scores: &[Score]) -> &'static str {
    let is_peer = |row: &Row| row.subject != OURS && !row.baseline;
    if !scores.iter().flat_map(|score| &score.step.rows).any(is_peer) {
        "no peer was measured"
    } else if !scores.iter().flat_map(|score| &score.others).any(|(row, _)| !row.baseline) {
        "no peer could be compared"
    } else {
        "nowhere"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Durability;
    use crate::report::sample::{Sample, record};

    #[test]
    fn only_what_is_beyond_the_tie_is_won_or_lost() {
        let verdict = |ratio| Verdict::of(ratio, Quantity::Rate);
        assert_eq!(verdict(1.04), Verdict::Tie);
        assert_eq!(verdict(1.06), Verdict::Win);
        assert_eq!(verdict(0.96), Verdict::Tie);
        assert_eq!(verdict(0.94), Verdict::Loss);
        assert_eq!(Verdict::of(1.2, Quantity::P99), Verdict::Tie);
    }

    #[test]
    fn the_best_peer_is_one_that_promises_as_much() {
        let record = record(&[
            Sample::new("stratalog", &[100.0]),
            Sample { class: Some(Durability::None), ..Sample::new("weak", &[400.0]) },
            Sample::new("slow", &[50.0]),
            Sample { class: Some(Durability::Sync), ..Sample::new("strong", &[80.0]) },
        ]);
        let summary = Summary::new(&record);
        let scores = Score::of_all(&summary, Quantity::Rate);
        let (best, ratio) = scores[0].best().unwrap();
        // Ours is ahead of the strong one, which proves nothing.
        assert_eq!((best.subject, ratio.median), ("slow", 2.0));
        assert_eq!(Tally::against(&scores, "strong").total(), 0);
        let tally = Tally::against_best(&scores);
        assert_eq!(tally, Tally { wins: 1, ties: 0, losses: 0 });
        assert_eq!(Tally::against(&scores, "weak").losses, 1);
        // But the loss is told.
        let losses = losses(&scores);
        assert_eq!(losses[0].ahead()[0].0.subject, "weak");
    }

    #[test]
    fn one_that_promises_more_counts_where_it_is_ahead() {
        let record = record(&[
            Sample::new("stratalog", &[100.0]),
            Sample::new("slow", &[50.0]),
            Sample { class: Some(Durability::Sync), ..Sample::new("strong", &[200.0]) },
        ]);
        let summary = Summary::new(&record);
        let scores = Score::of_all(&summary, Quantity::Rate);
        assert_eq!(scores[0].best().unwrap().0.subject, "strong");
        assert_eq!((losses(&scores).len(), Tally::against(&scores, "strong").losses), (1, 1));
    }

    #[test]
    fn baselines_are_shown_and_not_judged() {
        let mut record = record(&[
            Sample::new("stratalog", &[100.0]),
            Sample::new("raw", &[400.0]),
            Sample { step: "b", ..Sample::new("raw", &[400.0]) },
        ]);
        record.subjects.retain(|(name, _)| name != "raw");
        let summary = Summary::new(&record);
        let scores = Score::of_all(&summary, Quantity::Rate);
        assert_eq!(scores[0].others[0].1.median, 0.25);
        assert!(scores[0].best().is_none() && scores[0].ahead().is_empty());
        assert!(losses(&scores).is_empty() && not_done(&summary).is_empty());
        assert_eq!(Tally::against(&scores, "raw").total(), 0);
        assert_eq!(nowhere(&scores), "no peer was measured");
    }

    #[test]
    fn losses_stand_worst_first_and_what_ours_did_not_do_is_known() {
        let mut record = record(&[
            Sample::new("stratalog", &[50.0]),
            Sample { step: "b", ..Sample::new("stratalog", &[20.0]) },
            Sample::new("peer", &[100.0]),
            Sample { step: "b", ..Sample::new("peer", &[100.0]) },
            Sample { step: "c", ..Sample::new("peer", &[100.0]) },
        ]);
        let scores_of = |record: &crate::record::Record| -> Vec<String> {
            let summary = Summary::new(record);
            let scores = Score::of_all(&summary, Quantity::Rate);
            losses(&scores).iter().map(|s| s.step.name.to_owned()).collect()
        };
        assert_eq!(scores_of(&record), ["b", "step"]);
        let summary = Summary::new(&record);
        assert_eq!(not_done(&summary)[0].1, "c");
        assert_eq!(nowhere(&Score::of_all(&summary, Quantity::Rate)), "nowhere");
        record.runs.retain(|run| run.subject != "peer");
        assert!(scores_of(&record).is_empty());
        let summary = Summary::new(&record);
        assert_eq!(nowhere(&Score::of_all(&summary, Quantity::Rate)), "no peer was measured");
    }
}
