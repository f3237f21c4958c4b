//! The record as people look at it: a table on the terminal, Markdown, and a page.
//!
//! | module | holds |
//! |---|---|
//! | `summary` | runs sorted into steps and subjects, figures over rounds, what of them can be compared |
//! | `quantity`, `score` | what is compared; who is ahead, how often, where ours is behind |
//! | `head`, `table`, `format` | what all reports say: where and how, the columns, numbers |
//! | `text`, `markdown` | the terminal, and what can be pasted into a document |
//! | `page`, `board`, `panel` | the page: its frame, the scoreboard, what belongs to a case |
//! | `bars`, `drawings` | what is drawn of a step |
//! | `plot`, `scale`, `svg` | lines and areas over axes; from values to pixels; elements |

use crate::record::Record;

mod bars;
mod board;
mod drawings;
pub(crate) mod format;
mod head;
mod markdown;
mod page;
mod panel;
mod plot;
pub(crate) mod quantity;
#[cfg(test)]
pub(crate) mod sample;
mod scale;
mod score;
pub(crate) mod summary;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod text;

/// A table for the terminal.
pub fn text(record: &Record) -> String {
    text::text(&summary::Summary::new(record))
}

/// Markdown.
pub fn markdown(record: &Record) -> String {
    markdown::markdown(&summary::Summary::new(record))
}

/// A page that needs nothing else.
pub fn html(record: &Record) -> String {
    page::page(&summary::Summary::new(record))
}
