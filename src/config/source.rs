//! Where the configuration comes from, and how one sees that it changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Config, ConfigError};
use crate::files::{self, Stamp};

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
        match self.is_built_in() {
            Ok(true) => PathBuf::from(BUILT_IN),
            Ok(false) | Err(_) => self.path().to_owned(),
        }
    }

    /// Whether no file is named, and there is none where one is looked for. Blocks.
    fn is_built_in(&self) -> Result<bool, ConfigError> {
        if self.path.is_some() {
            return Ok(false);
        }
        let stamp = files::begin_stamp(self.path()).wait();
        let cannot = |error| super::of_file(self.path(), format!("cannot read the file: {error}"));
        Ok(!stamp.map_err(cannot)?.is_there())
    }

    /// The configuration, and what to call the place that it comes from, for a start: the file may be
    /// a pipe, which can be read once. Blocks.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<(Config, String), ConfigError> {
        self.load_by(super::read_at_start)
    }

    /// As [`Source::load`], when a service runs: blocks for some seconds at most.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_again(&self) -> Result<(Config, String), ConfigError> {
        self.load_by(super::read)
    }

    fn load_by(
        &self,
        read: fn(&Path) -> Result<String, ConfigError>,
    ) -> Result<(Config, String), ConfigError> {
        if let Some(publication) = &self.published {
            let Edition { version, text } = publication.edition().clone();
            let name = format!("{} version {version}", publication.name);
            let config = Config::parse(Path::new(&name), &text)?;
            return Ok((config, name));
        }
        if self.is_built_in()? {
            return Ok((Config::embedded(), BUILT_IN.to_owned()));
        }
        let path = self.path();
        let config = Config::parse(path, &read(path)?)?;
        Ok((config, path.display().to_string()))
    }

    /// The text of the configuration, whatever is wrong with it, as [`Source::load`] reads it. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, or is not UTF-8.
    pub fn text(&self) -> Result<String, ConfigError> {
        if let Some(publication) = &self.published {
            return Ok(publication.edition().text.clone());
        }
        if self.is_built_in()? {
            return Ok(super::EMBEDDED.to_owned());
        }
        super::read_at_start(self.path())
    }

    /// What the file looks like now; `None` if its file system does not answer. Blocks.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        files::begin_stamp(self.path()).wait().ok()
    }

    /// As [`Source::stamp`], for a task.
    pub(crate) async fn look(&self) -> Option<Stamp> {
        files::stamp(self.path(), files::LIMIT).await.ok()
    }
}
