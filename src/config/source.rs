//! Where the configuration comes from, and how one sees that it changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};

/// Read if there is one and no other is named.
pub(crate) const DEFAULT_PATH: &str = "config/clusters.toml";

/// What the built-in configuration is called.
const BUILT_IN: &str = "the built-in default";

/// The configuration's file; it may appear, change and go while the service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `None`: the default file, or the built-in configuration if there is none.
    path: Option<PathBuf>,
}

/// What the file looked like: another stamp is another file, or another content.
///
/// Symbolic links are followed all the way, so that replacing one (as Kubernetes does with a whole
/// folder of them) changes the stamp, as renaming another file over it and writing into it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<[i128; 5]>);

impl Source {
    /// The file at `path`; `None` is `config/clusters.toml`, or a built-in copy if there is none.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> PathBuf {
        match &self.path {
            None if !self.path().exists() => PathBuf::from(BUILT_IN),
            _ => self.path().to_owned(),
        }
    }

    /// The configuration, and what to call the place that it comes from. Blocks.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<(Config, String), ConfigError> {
        let path = self.path();
        if self.path.is_none() && !path.exists() {
            return Ok((Config::embedded(), BUILT_IN.to_owned()));
        }
        let config = Config::load(path)?;
        Ok((config, path.display().to_string()))
    }

    /// What the file looks like now. Blocks.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp::of(self.path())
    }
}

impl Stamp {
    /// What the file at `path` looks like now. Blocks.
    pub(crate) fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self(metadata.map(|it| {
            [
                it.dev().into(),
                it.ino().into(),
                it.len().into(),
                nanos(it.mtime(), it.mtime_nsec()),
                nanos(it.ctime(), it.ctime_nsec()),
            ]
        }))
    }
}
