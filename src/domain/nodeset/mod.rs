//! Node sets: many ids in a few characters, as pdsh, Slurm and ClusterShell write them.
//!
//! ```text
//! set     = element *(("," / "!") element)
//! element = range / 1*(text / "[" range *("," range) "]")
//! range   = number ["-" number ["/" step]]
//! ```
//!
//! `1-4` are four integers, `web[001-128,200]` 129 names, `r[1-4]n[01-36]` 144, the last bracket
//! counting fastest; `[0-8/2]` steps by two. A set is read from the left: `,` adds the element behind
//! it, `!` takes it away from all that came before, so `n[1-9]!n[2,5],n5` is without n2 only. Sets are
//! kept folded and counted before they are expanded, so that `n[1-9999999999]` costs nothing.
//!
//! Why not a crate: `nodeset` 0.6 sorts and drops duplicates (order is promised here, and a
//! duplicate is a fault), reads group files and brings a CLI's dependencies; `hostlist` 0.3 and
//! `hostlist-parser` 0.1 expand before anyone can count, and the first panics on numbers over 32
//! bits.

mod ids;
mod matcher;
mod parse;
mod pattern;
mod set;

pub(super) use matcher::Matcher;
pub use set::NodeSet;
