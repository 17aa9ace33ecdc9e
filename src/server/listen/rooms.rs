//! How many connections there may be, by what they wait for.

use tokio::sync::Semaphore;

/// Connections beyond those that are served: as many may wait for their first bytes, and as many for
/// room.
const MAX_BESIDE: usize = 1024;

/// With fewer files than these for connections, none are spared for those beside.
const FEW_FILES: usize = 128;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rooms {
    /// Those that are served.
    pub(super) connections: usize,
    /// Those of which it is not known yet what they want, and those that ask how the service does.
    pub(super) pending: usize,
    /// Those that wait until one is served.
    pub(super) waiting: usize,
    /// All of them: others are not accepted.
    pub(super) all: usize,
}

impl Rooms {
    /// Of `files` that may be connections, with `most` that may be served.
    pub(super) fn new(most: usize, files: usize) -> Self {
        let many = Semaphore::MAX_PERMITS;
        if files < FEW_FILES {
            return Self {
                connections: most.min(files),
                pending: many,
                waiting: many,
                all: files,
            };
        }
        let (pending, waiting) = ((files / 4).min(MAX_BESIDE), (files / 8).min(MAX_BESIDE));
        Self {
            connections: most.min(files - pending - waiting),
            pending,
            waiting,
            all: many,
        }
    }
}
