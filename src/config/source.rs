//! Where the configuration comes from, and how one sees that it changed.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Config, ConfigError};

/// Read if there is one and no other is named.
pub(crate) const DEFAULT_PATH: &str = "config/clusters.toml";

/// What the built-in configuration is called.
const BUILT_IN: &str = "the built-in default";

/// Where the configuration is: a file, which may appear, change and go while the service runs, or
/// what somebody published.
#[derive(Debug, Clone)]
pub struct Source {
    /// `None`: the default file, or the built-in configuration if there is none.
    path: Option<PathBuf>,
    published: Option<Publication>,
}

/// A configuration that comes from elsewhere, and is replaced whenever there is another one.
#[derive(Debug, Clone)]
pub struct Publication {
    name: Arc<str>,
    edition: Arc<Mutex<Edition>>,
}

/// One of the configurations that were published.
#[derive(Clone)]
pub struct Edition {
    /// Tells it from others; later ones have larger numbers.
    pub version: u64,
    /// TOML. There may be secrets in it.
    pub text: String,
}

impl fmt::Debug for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edition")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Publication {
    /// `name` is what messages call it.
    #[must_use]
    pub fn new(name: String, edition: Edition) -> Self {
        Self {
            name: name.into(),
            edition: Arc::new(Mutex::new(edition)),
        }
    }

    fn edition(&self) -> MutexGuard<'_, Edition> {
        self.edition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which one there is now.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.edition().version
    }

    /// There is this one now; whether it is another one.
    #[must_use]
    pub fn replace(&self, edition: Edition) -> bool {
        let mut current = self.edition();
        let is_other = current.version != edition.version || current.text != edition.text;
        *current = edition;
        is_other
    }
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
        Self {
            path,
            published: None,
        }
    }

    /// What was published last.
    #[must_use]
    pub fn published(publication: Publication) -> Self {
        Self {
            path: None,
            published: Some(publication),
        }
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> PathBuf {
        if let Some(publication) = &self.published {
            let version = publication.edition().version;
            return PathBuf::from(format!("{} version {version}", publication.name));
        }
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
        if let Some(publication) = &self.published {
            let Edition { version, text } = publication.edition().clone();
            let name = format!("{} version {version}", publication.name);
            let config = Config::parse(Path::new(&name), &text)?;
            return Ok((config, name));
        }
        let path = self.path();
        if self.path.is_none() && !path.exists() {
            return Ok((Config::embedded(), BUILT_IN.to_owned()));
        }
        let config = Config::load(path)?;
        Ok((config, path.display().to_string()))
    }

    /// The text of the configuration, whatever is wrong with it. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, or is not UTF-8.
    pub fn text(&self) -> Result<String, ConfigError> {
        if let Some(publication) = &self.published {
            return Ok(publication.edition().text.clone());
        }
        let path = self.path();
        if self.path.is_none() && !path.exists() {
            return Ok(super::EMBEDDED.to_owned());
        }
        super::read(path)
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
