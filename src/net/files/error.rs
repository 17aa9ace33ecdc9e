//! Why a file was not read, without anything of what it holds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Why a file was not read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum FileError {
    /// The system refuses it.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// Reading it could wait for ever, or have an effect.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It has more bytes than it may.
    #[error("it is larger than {}", size(*.0))]
    TooLarge(u64),
    /// Nothing came in time.
    #[error("its file system did not answer within {}", rounded(*.0))]
    Silent(Duration),
    /// Another caller waited for it in vain, and it still hangs.
    #[error("it is still being read, since {}: its file system does not answer", humantime::format_rfc3339_seconds(*.0))]
    StillRead(SystemTime),
    /// Too many others are being read, or too many callers wait for this one.
    #[error("too many files are being read, and do not come to an end")]
    Busy,
    /// The code that reads has a bug.
    #[error("the code that reads it failed")]
    Failed,
}

impl FileError {
    /// Why, in words that stay the same for as long as a file system does not answer.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Silent(_) | Self::StillRead(_) => "its file system does not answer".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// What a caller has left is not the same twice, which is nothing to say.
fn rounded(limit: Duration) -> humantime::FormattedDuration {
    let step_ms = if limit < Duration::from_millis(100) {
        1
    } else {
        100
    };
    let steps = (limit.as_micros() + step_ms * 500) / (step_ms * 1000);
    let ms = u64::try_from(steps * step_ms).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(ms))
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}
