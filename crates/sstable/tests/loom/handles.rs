//! Handles that are closed and opened again by several readers.

use std::path::Path;
use std::sync::Arc;

use loom::thread::spawn;
use stratalog_base::fs::{File, Fs, SimFs};
use stratalog_sstable::{Handles, ReadBy};

/// `count` files, each of which holds its own number, with at most `limit` of them open.
fn files(count: u8, limit: usize) -> (Arc<Handles>, Vec<Arc<dyn File>>) {
    let fs = SimFs::new();
    let path = |id: u8| format!("{id}");
    for id in 0..count {
        fs.create(Path::new(&path(id))).unwrap().write_at(&[id], 0).unwrap();
    }
    let handles = Handles::new(fs.shared(), Some(limit), ReadBy::Call);
    let files = (0..count).map(|id| handles.open(Path::new(&path(id))).unwrap()).collect();
    (handles, files)
}

fn read(files: &[Arc<dyn File>], id: u8) {
    let mut byte = [u8::MAX];
    assert_eq!(files[usize::from(id)].read_at(&mut byte, 0).unwrap(), 1);
    assert_eq!(byte, [id]);
}

#[test]
fn readers_of_different_files_take_the_only_handle_in_turn() {
    // HANDLE-1
    loom::model(|| {
        let (handles, files) = files(2, 1);
        let other = {
            let files = files.clone();
            spawn(move || read(&files, 0))
        };
        read(&files, 1);
        other.join().unwrap();
        assert_eq!(handles.open_count(), 1);
    });
}

#[test]
fn readers_of_a_closed_file_open_it_once() {
    // HANDLE-3: two other files have closed this one and are gone.
    loom::model(|| {
        let (handles, mut files) = files(3, 2);
        files.truncate(1);
        let other = {
            let files = files.clone();
            spawn(move || read(&files, 0))
        };
        read(&files, 0);
        other.join().unwrap();
        assert_eq!(handles.open_count(), 1);
        drop(files);
        assert_eq!(handles.open_count(), 0);
    });
}
