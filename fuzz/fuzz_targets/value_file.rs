//! Value files: the decoders of handle, footer, index and summary on any bytes; and a file that was
//! changed, whose every value is right or told to be damaged.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_sstable::{BlockCache, Compression, ValueFile, ValueHandle, ValueWriter, fuzz};

const PATH: &str = "7.val";

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    bytes: &'a [u8],
    changes: Vec<(u16, u8)>,
    length: Option<u16>,
    handle: (u64, u64, u64),
}

fn value(index: u64) -> Vec<u8> {
    vec![index as u8; 40 * index as usize]
}

/// Five values, the later ones compressed, and their handles.
fn template() -> &'static (Vec<u8>, Vec<ValueHandle>) {
    static TEMPLATE: OnceLock<(Vec<u8>, Vec<ValueHandle>)> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let fs = SimFs::new();
        let file = fs.create(Path::new(PATH)).expect("a new file");
        let mut writer = ValueWriter::new(file, 7, Compression::Lz4);
        let handles = (0..5).map(|i| writer.append(&value(i)).expect("append")).collect();
        writer.finish().expect("finish");
        (fs.read_file(PATH), handles)
    })
}

fuzz_target!(|input: Input<'_>| {
    fuzz::value_file(input.bytes);
    if let Ok(handle) = fuzz::value_handle(input.bytes) {
        let mut again = Vec::new();
        handle.encode(&mut again);
        assert_eq!(again, input.bytes, "one handle has one encoding");
    }
    let (mut bytes, handles) = template().clone();
    bytes.truncate(input.length.map_or(bytes.len(), usize::from));
    for (at, bits) in input.changes {
        let at = usize::from(at) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bits;
        }
    }
    let fs = SimFs::new();
    fs.write_file(PATH, &bytes);
    let file = fs.open(Path::new(PATH)).expect("it is there");
    let Ok(file) = ValueFile::open(file, 7, BlockCache::new(300)) else { return };
    for handle in &handles {
        if let Ok(found) = file.get(handle) {
            assert_eq!(found, value(handle.index), "a wrong value");
        }
    }
    let (index, offset, length) = input.handle;
    let mut made_up = Vec::new();
    ValueHandle { file: 7, index, offset, bytes: length }.encode(&mut made_up);
    if let Ok(made_up) = fuzz::value_handle(&made_up) {
        let is_one = handles.iter().any(|it| (it.offset, it.bytes) == (offset, length));
        assert!(file.get(&made_up).is_err() || is_one, "a value where there is none");
    }
    let _ = file.verify(|_, _| Ok(()));
});
