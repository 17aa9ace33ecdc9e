//! Fuzzed: what a server that is asked for a roll call may answer.

use std::time::Duration;

use super::line::Line;
use super::roll::Roll;
use super::{csv, table};
use crate::cli::terminal::{Terminal, steers};
use crate::domain::{Cluster, Id, Topology};

/// A stream of lines, shown as a table and as rows.
pub fn report_stream(bytes: &[u8]) {
    let nodes = (1..=3).map(Id::number).collect();
    let cluster = Cluster::new(Id::number(1), nodes, Vec::new());
    let mut roll = Roll::by_name(&Topology::new(vec![cluster]));
    let (mut lines, mut is_over) = (0, false);
    for line in bytes.split(|&byte| byte == b'\n') {
        match Line::parse(line) {
            Ok(Line::Came {
                cluster,
                kind,
                id,
                heard,
            }) => roll.hear_of(cluster, kind, id, heard),
            Ok(Line::End) => is_over = true,
            Ok(Line::Problem(_)) | Err(_) => {}
        }
        lines += 1;
    }
    roll.settle(is_over);
    let tally = roll.tally;
    assert!(tally.heard() <= lines, "more have answered than lines say");
    assert_eq!(tally.asked, tally.heard() + tally.unheard());
    let collection = roll.collection(|_| true);
    assert_eq!(collection.topology().devices(), tally.asked);
    let failed = collection.summary().failed();
    assert_eq!(failed, tally.failed() + tally.unheard());
    let terminal = Terminal {
        width: Some(40),
        is_terminal: true,
        obeys: false,
        has_colors: false,
    };
    let table = table::text(&roll, Duration::ZERO, false, is_over, terminal);
    let rows = csv::text(&roll, |_| true, true);
    for text in [table, rows] {
        let is_plain = !text.contains(|c: char| steers(c) && c != '\n' && c != '\r');
        assert!(is_plain, "control characters on the terminal: {text:?}");
    }
}
