//! Where the configuration comes from, and how one sees that it changed.

use std::cmp::Reverse;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Config, ConfigError, file};
use crate::net::files;
use crate::net::files::Stamp;

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
    /// Whether it may take what it names from this machine: commands, files, variables.
    allows_local: bool,
    state: Arc<Mutex<Editions>>,
}

/// What a publication knows.
#[derive(Debug)]
struct Editions {
    /// The one to use, or to try.
    newest: Edition,
    /// Those before it, the newest one first, until one of them all is taken at the start.
    before: Vec<Edition>,
    /// The version by which the newest one was deleted, if it was.
    deleted: Option<u64>,
    /// The one that was taken at the start.
    taken: Option<Edition>,
    /// What was said last of one that cannot be used.
    refused: Option<String>,
}

/// One of the configurations that were published.
#[derive(Clone, Default)]
pub struct Edition {
    /// Tells it from others; later ones have larger numbers.
    pub version: u64,
    /// All that is kept of it; empty if it may not be used. There may be secrets in it.
    pub entry: String,
    /// Where TOML begins in that.
    pub text_at: usize,
    /// What its publisher signed: later ones have larger numbers. `None` if that is not asked for.
    pub serial: Option<u64>,
    /// Why it may not be used, if so.
    pub refused: Option<String>,
}

impl Edition {
    /// TOML.
    fn text(&self) -> &str {
        self.entry.get(self.text_at..).unwrap_or_default()
    }

    /// Which one of several is to be taken rather.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        (self.refused.is_none(), self.serial, self.version)
    }
}

impl fmt::Debug for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edition")
            .field("version", &self.version)
            .field("serial", &self.serial)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl Publication {
    /// `name` is what messages call it; `editions` are those that are kept, the newest of which was
    /// deleted by a version if it was. `None` if there are none.
    #[must_use]
    pub(crate) fn new(
        name: String,
        allows_local: bool,
        mut editions: Vec<Edition>,
        deleted: Option<u64>,
    ) -> Option<Self> {
        // Those that may not be used come last, to be named if there is no other.
        editions.sort_by_key(|it| Reverse(it.rank()));
        let mut editions = editions.into_iter();
        let newest = editions.next()?;
        let state = Editions {
            newest,
            before: editions.collect(),
            deleted,
            taken: None,
            refused: None,
        };
        Some(Self {
            name: name.into(),
            allows_local,
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn state(&self) -> MutexGuard<'_, Editions> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The one to use, or to try.
    pub(crate) fn newest(&self) -> Edition {
        self.state().newest.clone()
    }

    /// Which one that is.
    pub(crate) fn version(&self) -> u64 {
        self.state().newest.version
    }

    /// The one that was taken at the start.
    pub(crate) fn in_force(&self) -> Edition {
        let state = self.state();
        state.taken.as_ref().unwrap_or(&state.newest).clone()
    }

    /// Whether that was not the newest one, which could not be used.
    pub(crate) fn is_behind(&self) -> bool {
        self.in_force().version != self.version()
    }

    /// Whether it has the same entry as the newest one.
    pub(crate) fn is_newest(&self, edition: &Edition) -> bool {
        self.state().newest.entry == edition.entry
    }

    /// There is this one now; whether it is another one.
    pub(crate) fn replace(&self, edition: Edition) -> bool {
        let mut state = self.state();
        let newest = &state.newest;
        let is_other = newest.version != edition.version || newest.entry != edition.entry;
        state.newest = edition;
        is_other
    }

    /// The configuration, and what messages call it.
    fn load(&self) -> Result<(Config, String), ConfigError> {
        let edition = self.newest();
        let name = self.name_of(edition.version);
        let path = Path::new(&name);
        if let Some(why) = edition.refused {
            return Err(file::of_file(path, why));
        }
        let config = Config::parse(path, edition.text())?;
        if !self.allows_local {
            config.refuse_local(path)?;
        }
        Ok((config, name))
    }

    fn name_of(&self, version: u64) -> String {
        format!("{} version {version}", self.name)
    }

    /// Takes the newest of those that are kept that can be used, and says which ones cannot.
    ///
    /// # Errors
    /// Why the newest one cannot be used, if none can.
    pub(crate) fn start<T>(
        &self,
        mut use_it: impl FnMut() -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let (newest, before) = {
            let mut state = self.state();
            (state.newest.clone(), std::mem::take(&mut state.before))
        };
        let mut refused = Vec::new();
        let mut editions = std::iter::once(newest.clone()).chain(before);
        while let Some(edition) = editions.next() {
            let version = edition.version;
            self.replace(edition.clone());
            match use_it() {
                Ok(used) => {
                    let is_refused = |it: Edition| Some((it.version, it.refused?));
                    let rest = editions.filter_map(is_refused).collect();
                    self.took(edition, newest, &refused, rest);
                    return Ok(used);
                }
                Err(error) => refused.push((version, error)),
            }
        }
        self.replace(newest);
        let mut refused = refused.into_iter();
        match refused.next() {
            Some((_, error)) => Err(error),
            None => use_it(),
        }
    }

    /// `refused` could not be used; `rest` may not be.
    fn took(
        &self,
        taken: Edition,
        newest: Edition,
        refused: &[(u64, ConfigError)],
        rest: Vec<(u64, String)>,
    ) {
        let publication = &*self.name;
        let in_force = taken.version;
        let mut state = self.state();
        if let Some(version) = state.deleted {
            log::warn!(publication, version, taken = in_force; "the published configuration was deleted, the one before is taken");
        }
        let passed_over = refused.iter().map(|(it, error)| (*it, error.to_string()));
        let newer = rest.into_iter().filter(|(version, _)| *version > in_force);
        let mut passed_over: Vec<_> = passed_over.chain(newer).collect();
        passed_over.sort_by_key(|(version, _)| Reverse(*version));
        for (version, faults) in passed_over {
            log::warn!(publication, version, faults, taken = in_force; "a published configuration cannot be used, another one is taken");
        }
        if let Some(serial) = taken.serial {
            log::info!(publication, version = in_force, serial; "the signature of the published configuration is right");
        }
        state.refused = refused.first().map(|(_, error)| error.to_string());
        // It is tried again.
        state.newest = newest;
        state.taken = Some(taken);
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

    /// Takes note of why a published configuration cannot be used; whether that was said before. Files
    /// are read again when somebody wants that, and that is answered each time.
    pub(crate) fn was_refused(&self, error: &ConfigError) -> bool {
        let Some(publication) = &self.published else {
            return false;
        };
        let why = Some(error.to_string());
        std::mem::replace(&mut publication.state().refused, why.clone()) == why
    }

    /// Where it may be, the first that is there counts.
    fn candidates(&self) -> Vec<PathBuf> {
        let named = self.path.get().map(|path| vec![path.clone()]);
        named.unwrap_or_else(|| SEARCHED.map(PathBuf::from).to_vec())
    }

    /// The file that was read, if it was one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.path.get().filter(|_| self.published.is_none())
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
            return PathBuf::from(publication.name_of(publication.version()));
        }
        self.path().unwrap_or_else(|| DEMONSTRATION.into())
    }

    /// The configuration, and what to call the place that it comes from, for a start: a file that is
    /// named may be a pipe, which can be read once. Blocks.
    ///
    /// # Errors
    /// As [`Config::load`], and if no file is named and none is there.
    pub fn load(&self) -> Result<(Config, String), ConfigError> {
        self.load_by(self.read_at_start())
    }

    /// As [`Source::load`], when a service runs: blocks for some seconds at most.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_again(&self) -> Result<(Config, String), ConfigError> {
        self.load_by(file::read)
    }

    fn load_by(
        &self,
        read: fn(&Path) -> Result<String, ConfigError>,
    ) -> Result<(Config, String), ConfigError> {
        if let Some(publication) = &self.published {
            return publication.load();
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
            return Ok(publication.newest().text().to_owned());
        }
        self.read_at_start()(&self.path().ok_or_else(nowhere)?)
    }

    /// Reads a file at the start. A pipe is meant only if it is named; one that lies where the
    /// configuration is looked for would be waited for, for ever.
    fn read_at_start(&self) -> fn(&Path) -> Result<String, ConfigError> {
        match self.path.get() {
            Some(_) => file::read_at_start,
            None => file::read,
        }
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
    file::of_file(
        Path::new(first),
        format!(
            "there is no such file{here}, and no {second}; name the configuration by --config or \
             FLEETCALL_CONFIG, or write one by `fleetcall init`"
        ),
    )
}
