//! Where the configuration comes from, and how one sees that it changed.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Config, ConfigError};
use crate::files::{self, Stamp};

/// Where `fleetcall init` writes, and where the configuration is looked for first.
pub(crate) const DEFAULT_PATH: &str = "config/clusters.toml";

/// Where the configuration is looked for if no file is named: the first that is there.
pub(crate) const SEARCHED: [&str; 2] = [DEFAULT_PATH, "/etc/fleetcall/clusters.toml"];

/// What the built-in demonstration is called.
const DEMONSTRATION: &str = "the built-in demonstration";

/// Where the configuration is: a file, which may change and go while the service runs, or what was
/// published. A file that is looked for may also appear.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file that was named, or found and read: later it is this one or none, so that a fleet is
    /// never replaced by another because a file is away.
    path: Arc<OnceLock<PathBuf>>,
    /// Whether the built-in demonstration stands in as long as no file was found.
    may_demonstrate: bool,
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
    /// The file at `path`; `None` is `config/clusters.toml`, or `/etc/fleetcall/clusters.toml` if
    /// there is none.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path: Arc::new(path.map_or_else(OnceLock::new, OnceLock::from)),
            may_demonstrate: false,
            published: None,
        }
    }

    /// As this, and the built-in demonstration as long as there is no file.
    #[must_use]
    pub fn or_demonstration(self) -> Self {
        Self {
            may_demonstrate: true,
            ..self
        }
    }

    /// What was published last.
    #[must_use]
    pub fn published(publication: Publication) -> Self {
        Self {
            published: Some(publication),
            ..Self::new(None)
        }
    }

    /// Where it may be, the first that is there counts.
    fn candidates(&self) -> Vec<PathBuf> {
        let named = self.path.get().map(|path| vec![path.clone()]);
        named.unwrap_or_else(|| SEARCHED.map(PathBuf::from).to_vec())
    }

    /// The file; `None` if none is named and none is there. Blocks.
    fn path(&self) -> Option<PathBuf> {
        let find = || self.candidates().into_iter().find(|it| is_there(it));
        self.path.get().cloned().or_else(find)
    }

    /// Whether what was loaded last is the built-in demonstration, as there was no file.
    #[must_use]
    pub(crate) fn is_demonstration(&self) -> bool {
        self.may_demonstrate && self.published.is_none() && self.path.get().is_none()
    }

    /// What messages call it. Blocks.
    pub(crate) fn name(&self) -> PathBuf {
        if let Some(publication) = &self.published {
            let version = publication.edition().version;
            return PathBuf::from(format!("{} version {version}", publication.name));
        }
        self.path().unwrap_or_else(|| DEMONSTRATION.into())
    }

    /// The configuration, and what to call the place that it comes from, for a start: the file may be
    /// a pipe, which can be read once. Blocks.
    ///
    /// # Errors
    /// As [`Config::load`], and if no file is named and none is there.
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
        match self.path() {
            Some(path) => {
                let config = Config::parse(&path, &read(&path)?)?;
                let name = path.display().to_string();
                // Perhaps it is set to just this already.
                self.path.set(path).ok();
                Ok((config, name))
            }
            None if self.may_demonstrate => Ok((Config::demonstration(), DEMONSTRATION.to_owned())),
            None => Err(nowhere()),
        }
    }

    /// The text of the configuration, whatever is wrong with it, as [`Source::load`] reads it. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, or is not UTF-8; also if no file is named and none is there.
    pub fn text(&self) -> Result<String, ConfigError> {
        if let Some(publication) = &self.published {
            return Ok(publication.edition().text.clone());
        }
        super::read_at_start(&self.path().ok_or_else(nowhere)?)
    }

    /// What the file looks like now; `None` if its file system does not answer. Blocks.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        let mut last = None;
        for path in self.candidates() {
            let stamp = files::begin_stamp(&path).wait().ok()?;
            last = Some(stamp);
            if stamp.is_there() {
                break;
            }
        }
        last
    }

    /// As [`Source::stamp`], for a task.
    pub(crate) async fn look(&self) -> Option<Stamp> {
        let mut last = None;
        for path in self.candidates() {
            let stamp = files::stamp(&path, files::LIMIT).await.ok()?;
            last = Some(stamp);
            if stamp.is_there() {
                break;
            }
        }
        last
    }
}

/// Whether something is at `path`. What cannot be looked at (a folder without permission, a link to
/// nothing, a file system that does not answer) may be the configuration that is meant, so it counts
/// as there, and reading it says what is wrong. Blocks.
fn is_there(path: &Path) -> bool {
    let look = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Ok(_) | Err(_) => Ok(true),
    };
    files::begin(path, files::LIMIT, look)
        .wait()
        .unwrap_or(true)
}

/// No file is named, and there is none where one is looked for.
fn nowhere() -> ConfigError {
    let [first, second] = SEARCHED;
    let here = std::env::current_dir().map(|it| format!(" in {}", it.display()));
    let here = here.unwrap_or_default();
    super::of_file(
        Path::new(first),
        format!(
            "there is no such file{here}, and no {second}; name the configuration by --config or \
             FLEETCALL_CONFIG, or write one by `fleetcall init`"
        ),
    )
}
