//! [`Merge`]: many sorted cursors as one.
//!
//! A tree of losers (Knuth, *The Art of Computer Programming* 3, 5.4.1) finds the source to be met
//! first. Its leaves are the sources; each inner node remembers who lost the match that was played
//! there, and the winner of all stands at the top. When the winner has moved, only the matches on its
//! way up are played again: log₂ of the number of sources.
//!
//! A match is decided by the first eight bytes of the user keys, which lie in the tree itself; only
//! where those are equal are the sources asked.
//!
//! A source that won a few times in a row is likely to go on. Then it is asked how far it stays ahead of
//! the second best ([`Cursor::run_before`]), and for that long nothing is compared at all: a table
//! answers for the rest of its block.
//!
//! # Invariants
//! - MERGE-1: `top` is the player that is met first; unless within a run, each node holds the loser of
//!   the match between the winners of its two halves.
//! - MERGE-2: no two sources hold the same internal key.
//! - MERGE-3: the next `run` steps of the top source lead to entries that are met before those of all
//!   other sources, or to its end.

use stratalog_base::{Cursor, KeyRef, Result, Slice};

/// Wins in a row after which the winner is asked how far it stays ahead.
const WINS: u32 = 4;

/// A cursor over the union of `sources`.
#[derive(Debug)]
pub struct Merge<C> {
    sources: Vec<C>,
    /// The losers at nodes 1, 2, …; source `i` enters the tree at node `(sources + i) / 2`, and a
    /// node's parent is its half.
    losers: Vec<Player>,
    top: Player,
    valid: bool,
    forward: bool,
    run: usize,
    wins: u32,
}

/// A source in a match.
#[derive(Clone, Copy, Debug, Default)]
struct Player {
    /// Of two players, the one with the smaller word is met first; equal words decide nothing.
    word: u64,
    source: usize,
}

impl<C: Cursor> Merge<C> {
    /// Over `sources`, none of which holds an internal key of another.
    pub fn new(sources: Vec<C>) -> Merge<C> {
        Merge {
            sources,
            losers: Vec::new(),
            top: Player::default(),
            valid: false,
            forward: true,
            run: 0,
            wins: 0,
        }
    }

    fn position(&mut self, forward: bool, mut to: impl FnMut(&mut C) -> Result<()>) -> Result<()> {
        self.forward = forward;
        self.valid = false; // An error below leaves the merge invalid, as the contract wants.
        for source in &mut self.sources {
            to(source)?;
        }
        if !self.sources.is_empty() {
            self.play_all();
        }
        Ok(())
    }

    /// Lets the sources wait for memory together.
    fn approach(&mut self, target: KeyRef<'_>) {
        let (mut part, mut more) = (0, self.sources.len() > 1);
        while more {
            let approach = |source: &mut C| source.approach(target, part);
            more = self.sources.iter_mut().map(approach).fold(false, |more, one| more | one);
            part += 1;
        }
    }

    /// Plays every match.
    fn play_all(&mut self) {
        const NOBODY: usize = usize::MAX;
        self.losers.clear();
        self.losers.resize(self.sources.len(), Player { word: 0, source: NOBODY });
        for source in 0..self.sources.len() {
            let mut player = self.player(source);
            let mut node = self.entrance(source);
            while node > 0 && self.losers[node].source != NOBODY {
                self.play(node, &mut player);
                node /= 2;
            }
            // The first to come to a node waits there; the last of all comes to the top.
            match node {
                0 => self.top = player,
                _ => self.losers[node] = player,
            }
        }
        self.begin_reign();
    }

    #[inline]
    fn begin_reign(&mut self) {
        self.valid = self.sources[self.top.source].valid();
        (self.run, self.wins) = (0, 0);
    }

    #[inline]
    fn entrance(&self, source: usize) -> usize {
        (self.sources.len() + source) / 2
    }

    /// The source as it stands now.
    #[inline]
    fn player(&self, source: usize) -> Player {
        let cursor = &self.sources[source];
        if !cursor.valid() {
            return Player { word: u64::MAX, source };
        }
        let word = first_word(cursor.key().user);
        Player { word: if self.forward { word } else { !word }, source }
    }

    /// Leaves the loser of the waiting player and `player` at `node`, and the winner in `player`.
    #[inline]
    fn play(&mut self, node: usize, player: &mut Player) {
        let waiting = self.losers[node];
        let wins = match waiting.word == player.word {
            false => waiting.word < player.word,
            true => self.comes_before(waiting.source, player.source),
        };
        if wins {
            self.losers[node] = *player;
            *player = waiting;
        }
    }

    /// Whether source `a` is met before source `b`.
    fn comes_before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.sources[a], &self.sources[b]);
        if !a.valid() || !b.valid() {
            return a.valid();
        }
        debug_assert_ne!(a.key(), b.key(), "MERGE-2");
        if self.forward { a.key() < b.key() } else { a.key() > b.key() }
    }

    /// Moves the top source by `step` and finds who is next.
    #[inline]
    fn advance(&mut self, step: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        let source = &mut self.sources[self.top.source];
        if let Err(error) = step(source) {
            self.valid = false;
            return Err(error);
        }
        if self.run > 0 && source.valid() {
            self.run -= 1; // MERGE-3
            return Ok(());
        }
        self.replay();
        Ok(())
    }

    /// Plays the matches of the top source again.
    fn replay(&mut self) {
        let first = self.top.source;
        let mut player = self.player(first);
        let mut node = self.entrance(first);
        while node > 0 {
            self.play(node, &mut player);
            node /= 2;
        }
        self.top = player; // MERGE-1
        if player.source != first {
            return self.begin_reign();
        }
        self.valid = self.sources[first].valid();
        self.run = 0;
        self.wins += 1;
        if self.wins >= WINS && self.valid {
            self.wins = 0;
            self.run = self.lead();
        }
    }

    /// How many steps the top source stays ahead of all others, or fewer.
    fn lead(&self) -> usize {
        let top = self.top.source;
        // Who comes second has lost to nobody but the winner.
        let mut second = None;
        let mut node = self.entrance(top);
        while node > 0 {
            let other = self.losers[node].source;
            second = match second {
                Some(second) if !self.comes_before(other, second) => Some(second),
                _ => Some(other),
            };
            node /= 2;
        }
        let top = &self.sources[top];
        match second.map(|second| &self.sources[second]).filter(|second| second.valid()) {
            None => usize::MAX,
            Some(second) if self.forward => top.run_before(second.key()),
            Some(second) => top.run_behind(second.key()),
        }
    }
}

/// The first eight bytes as a number that orders as they do; missing ones count as zero.
#[inline]
fn first_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => bytes
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
            .checked_shl(8 * (8 - bytes.len()) as u32)
            .unwrap_or(0),
    }
}

impl<C: Cursor> Cursor for Merge<C> {
    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> KeyRef<'_> {
        self.sources[self.top.source].key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.sources[self.top.source].value()
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        self.sources[self.top.source].value_slice()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.position(true, C::seek_first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.position(false, C::seek_last)
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.approach(target);
        self.position(true, |source| source.seek(target))
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.position(false, |source| source.seek_before(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if !self.forward {
            let here = self.key().to_owned();
            self.seek(here.as_ref())?;
        }
        self.advance(C::next)
    }

    #[inline]
    fn next_while(&mut self, most: usize, seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool) -> usize {
        if !self.forward || self.run == 0 {
            return 0;
        }
        let source = &mut self.sources[self.top.source];
        let taken = source.next_while(most.min(self.run), seen);
        self.run -= taken; // MERGE-3
        taken
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if self.forward {
            let here = self.key().to_owned();
            return self.seek_before(here.as_ref());
        }
        self.advance(C::prev)
    }
}
