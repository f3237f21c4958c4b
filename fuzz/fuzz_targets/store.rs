//! A store one of whose files was changed: it opens or says what is wrong, and whatever it shows was
//! once written.
#![no_main]

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stratalog::fs::SimFs;
use stratalog::{Compression, Db, Options, RecoveryMode, Result};

const DIR: &str = "db";

#[derive(Arbitrary, Debug)]
struct Damage {
    file: u8,
    changes: Vec<(u16, u8)>,
    length: Option<u16>,
    tail: Vec<u8>,
    recovery: u8,
}

fn open(fs: &SimFs, recovery: RecoveryMode) -> Result<Db> {
    Options::new()
        .fs(fs.shared())
        .background(false)
        .memtable_bytes(64 << 10)
        .cache_bytes(1 << 20)
        .separate_values_from(32)
        .compression(Compression::Lz4)
        .recovery(recovery)
        .open(DIR)
}

/// Tables and value files, edits in the manifest, records in the log; the value of key `[k, i]` is `i` so many times.
fn template() -> &'static SimFs {
    static TEMPLATE: OnceLock<SimFs> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let fs = SimFs::new();
        let db = open(&fs, RecoveryMode::Strict).expect("a new store");
        for round in 0..3 {
            for i in 0..24u8 {
                db.put([b'k', i], vec![i; 30 + round]).expect("put");
            }
            db.delete([b'k', 24]).expect("delete");
            if round < 2 {
                db.flush().expect("flush");
            }
        }
        fs.kill()
    })
}

fuzz_target!(|damage: Damage| {
    let fs = template().kill();
    let files = fs.files();
    let (path, _) = &files[usize::from(damage.file) % files.len()];
    let mut bytes = fs.read_file(path);
    bytes.truncate(damage.length.map_or(bytes.len(), usize::from));
    bytes.extend_from_slice(&damage.tail);
    for (at, bits) in damage.changes {
        let at = usize::from(at) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bits;
        }
    }
    fs.write_file(path, &bytes);
    let recovery = [RecoveryMode::TornTail, RecoveryMode::PointInTime, RecoveryMode::Strict];
    let Ok(db) = open(&fs, recovery[usize::from(damage.recovery) % recovery.len()]) else { return };
    for entry in db.iter().map_while(Result::ok) {
        let (key, value) = entry;
        let known = key.len() == 2 && key[0] == b'k' && key[1] < 24;
        let right = (30..33).contains(&value.len()) && value.iter().all(|byte| *byte == key[1]);
        assert!(known && right, "{key:?} = {value:?} was never written");
    }
    let _ = db.check();
});
