//! Kill −9 at any moment of an import: what was acknowledged is there, batches are whole, order holds.
//!
//! The importer acknowledges batches on its standard output. It is killed at random moments, while it
//! creates, recovers, writes, flushes and compacts; then the store is opened and compared with a
//! model. `STRATALOG_SEED=N cargo test -p stratalog-cli kill` draws other moments.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use stratalog::{Db, Options};

use crate::{Scratch, sorted_lines};

const STORES: u32 = 5;
/// Kills of each store in the middle of the writing. Those while it opens or settles come on top.
const CUTS_PER_STORE: u32 = 10;
const MOST_ROUNDS: u32 = 10 * CUTS_PER_STORE;
const ENTRIES: usize = 12_000;
const BATCH: usize = 64;
/// The smallest makes an import flush and compact all the time, so that kills come mostly while it
/// waits for that; the largest never flushes, so that they come while it writes the log.
const MEMTABLE_BYTES: [usize; 3] = [64 << 10, 512 << 10, 64 << 20];

#[test]
fn acknowledged_writes_survive_kill_9() {
    let seed = std::env::var("STRATALOG_SEED").map_or(2, |seed| seed.parse().unwrap());
    let mut rng = Rng(seed);
    println!("seed {seed}");
    for store in 0..STORES {
        let scratch = Scratch::new();
        let mut model = Model::new(&mut rng);
        let (mut round, mut cut_count) = (0, 0);
        while cut_count < CUTS_PER_STORE {
            round += 1;
            assert!(round < MOST_ROUNDS, "the kills come too late");
            let input = scratch.file("input.tsv", model.input(round));
            let memtable_bytes = MEMTABLE_BYTES[rng.below(MEMTABLE_BYTES.len())];
            let acknowledged = import_until_killed(&scratch, &input, memtable_bytes, &mut rng);
            if rng.below(3) == 0 {
                kill_a_recovery(&scratch, &mut rng);
            }
            let present = model.verify(&scratch.db(), round, acknowledged);
            cut_count += u32::from(0 < present && present < ENTRIES);
            println!(
                "store {store} round {round} memtable {memtable_bytes}: \
                 {acknowledged} acknowledged, {present} there"
            );
        }
        // The interrupted import is run again, and goes on.
        scratch.import(&scratch.path("input.tsv"), &["--memtable", "64KiB"]).ok();
        assert!(scratch.run(&["scan"]).stdout == sorted_lines(model.input(round).as_bytes()));
        scratch.run(&["check"]).ok();
    }
}

/// Runs an import, kills it at a random moment, and returns how many entries it acknowledged.
fn import_until_killed(
    scratch: &Scratch,
    input: &Path,
    memtable_bytes: usize,
    rng: &mut Rng,
) -> usize {
    let mut command = scratch.command(&["import", "--json", "--durability", "process"]);
    command.arg(input).args(["--batch", &BATCH.to_string()]);
    command.args(["--memtable", &memtable_bytes.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut acks = Vec::new();
    let delay_us = if rng.below(6) == 0 {
        rng.below(20_000) // While it starts, creates, recovers.
    } else {
        read_lines(&mut child, 1 + rng.below(ENTRIES / BATCH * 9 / 10), &mut acks);
        // Short ones as often as long ones: a batch takes microseconds, a flush milliseconds.
        rng.below(4_000) >> rng.below(12)
    };
    kill_after(&mut child, Duration::from_micros(delay_us as u64));
    child.stdout.take().unwrap().read_to_end(&mut acks).unwrap();
    let acks = String::from_utf8(acks).unwrap();
    let whole_lines = acks.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let last = whole_lines.lines().rfind(|line| line.starts_with("{\"acknowledged\":"));
    last.map_or(0, |line| {
        let ack: serde_json::Value = serde_json::from_str(line).expect(line);
        ack["acknowledged"].as_u64().unwrap() as usize
    })
}

fn read_lines(child: &mut Child, mut count: usize, to: &mut Vec<u8>) {
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while count > 0 {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the import ended by itself");
        to.push(byte[0]);
        count -= usize::from(byte[0] == b'\n');
    }
}

/// Kills a process that does nothing but open the store.
fn kill_a_recovery(scratch: &Scratch, rng: &mut Rng) {
    let mut command = scratch.command(&["stats"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    kill_after(&mut child, Duration::from_micros(rng.below(6_000) as u64));
}

fn kill_after(child: &mut Child, delay: Duration) {
    let until = Instant::now() + delay;
    sleep(delay.saturating_sub(Duration::from_micros(100)));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the store must hold.
struct Model {
    /// The order in which imports write the entries.
    order: Vec<usize>,
    /// The round that wrote each entry last, by position in `order`.
    rounds: Vec<Option<u32>>,
}

impl Model {
    fn new(rng: &mut Rng) -> Model {
        let mut order: Vec<usize> = (0..ENTRIES).collect();
        for i in (1..ENTRIES).rev() {
            order.swap(i, rng.below(i + 1));
        }
        Model { order, rounds: vec![None; ENTRIES] }
    }

    fn input(&self, round: u32) -> String {
        self.order.iter().map(|&id| format!("{}\t{}\n", key(id), value(round, id))).collect()
    }

    /// Checks the store after an import of `round` that acknowledged `acknowledged` entries; returns
    /// how many of its entries are there.
    fn verify(&mut self, db: &Path, round: u32, acknowledged: usize) -> usize {
        let db = Options::new().memtable_bytes(MEMTABLE_BYTES[0]).open(db).unwrap();
        let found = read_rounds(&db);
        let found: Vec<Option<u32>> = self.order.iter().map(|&id| found[id]).collect();
        let present = found.iter().take_while(|&&found| found == Some(round)).count();
        assert!(present >= acknowledged, "{acknowledged} acknowledged, {present} there");
        assert!(
            present.is_multiple_of(BATCH) || present == ENTRIES,
            "{present} entries: a torn batch"
        );
        for (position, (found, expected)) in
            found.iter().zip(&self.rounds).enumerate().skip(present)
        {
            assert_eq!(found, expected, "entry {position}, after the {present} of this round");
        }
        db.check().unwrap();
        db.close().unwrap();
        self.rounds = found;
        present
    }
}

/// The round that wrote each entry, by id.
fn read_rounds(db: &Db) -> Vec<Option<u32>> {
    let mut rounds = vec![None; ENTRIES];
    let mut last_key = Vec::new();
    for entry in db.iter() {
        let (key_bytes, value_bytes) = entry.unwrap();
        assert!(last_key.is_empty() || *last_key < *key_bytes, "keys ascend");
        last_key = key_bytes.to_vec();
        let text = std::str::from_utf8(&value_bytes).unwrap();
        let mut numbers = text.split(' ').map(str::parse::<usize>);
        let (Some(Ok(round)), Some(Ok(id))) = (numbers.next(), numbers.next()) else {
            panic!("not a value of ours: {text}");
        };
        assert_eq!(*key_bytes, *key(id).as_bytes());
        assert_eq!(text, value(round as u32, id));
        rounds[id] = Some(round as u32);
    }
    rounds
}

fn key(id: usize) -> String {
    format!("key {id:08}")
}

/// A value that tells who wrote it, padded with what does not compress away.
fn value(round: u32, id: usize) -> String {
    let mut rng = Rng(u64::from(round) << 32 | id as u64);
    let padding: String = (0..5).map(|_| format!(" {:016x}", rng.next())).collect();
    format!("{round} {id}{padding}")
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
