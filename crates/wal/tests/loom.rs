//! Every interleaving of two or three threads, on the shipped code.
//!
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p stratalog-wal --test loom --release`
//!
//! | module | models |
//! |---|---|
//! | [`group`], [`crews`], [`ring`], [`alarm`], [`ticket`] | one part by itself |
//! | [`append`] | records on their way to the disk, with each backend |
//! | [`mapped`] | the same where a record is logged once it is in the ring |
//! | [`callback`] | those who are called back by its threads |
//! | [`lifecycle`] | closing, changing the backend, going on after a failure |
//! | [`disk`] | the files of these |
//!
//! Names with `trap` tell of a defect that another log shipped.
#![cfg(loom)]

#[path = "loom/alarm.rs"]
mod alarm;
#[path = "loom/append.rs"]
mod append;
#[path = "loom/callback.rs"]
mod callback;
#[path = "loom/crews.rs"]
mod crews;
#[path = "loom/disk.rs"]
mod disk;
#[path = "loom/group.rs"]
mod group;
#[path = "loom/lifecycle.rs"]
mod lifecycle;
#[path = "loom/mapped.rs"]
mod mapped;
#[path = "loom/ring.rs"]
mod ring;
#[path = "loom/ticket.rs"]
mod ticket;

/// Checks a model that takes more steps than loom allows by default.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = builder.max_branches.max(10_000);
    builder.check(body);
}
