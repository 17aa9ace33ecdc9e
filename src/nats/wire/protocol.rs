//! What holds of every message: its version, how long it may be, and the form of answers.

use std::time::Duration;

/// The version of the messages. One that cannot be read by those who know only the one before gets a
/// new number, and with it subjects of its own.
pub(in crate::nats) const VERSION: u32 = 1;

/// The newest form of an answer's pieces. A front says which one it can read, and an owner writes the
/// newest that both know, so releases with another newest one work together.
pub const NEWEST_SCHEMA: u32 = 2;

/// The form of pieces that everybody reads: each outcome by itself. From 2 on, those without anything
/// to say are in columns.
pub(in crate::nats) const OLDEST_SCHEMA: u32 = 1;

/// About how large a piece of an answer may become, in bytes. Servers take 1 MiB unless they are told
/// otherwise; small pieces share a connection more fairly.
pub(in crate::nats) const CHUNK_LEN: usize = 64 * 1024;

/// The most that may be said of one device, in bytes: with the rest of its piece it is to be less than
/// what servers take.
pub(in crate::nats) const LONGEST: usize = 768 * 1024;

/// How many pieces may be on their way that the front has not read.
pub(in crate::nats) const WINDOW: usize = 8;

/// What a front says for each piece that it has read.
pub(in crate::nats) const ACK: &str = "+";

/// What a front says when nobody waits for the answer any more.
pub(in crate::nats) const CANCEL: &str = "-";

/// How often an owner says that it is there while no outcome comes.
pub(in crate::nats) const HEARTBEAT: Duration = Duration::from_millis(500);
