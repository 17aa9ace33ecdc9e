//! From a file or a text to a [`Config`].

use std::path::Path;

use super::fault::ConfigError;
use super::settings::Config;
use super::{file, validate};

/// The built-in demonstration: the repository's `config/clusters.toml`.
const DEMONSTRATION: &str = include_str!("../../config/clusters.toml");

impl Config {
    /// Reads and validates the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8, is no TOML, or breaks a rule; all faults at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &file::read(path)?)
    }

    /// The built-in demonstration: the Python servers' topology, simulated.
    ///
    /// # Panics
    /// Never in a build that passed its tests.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test loads this very text")]
    pub fn demonstration() -> Self {
        Self::parse(Path::new("the demonstration"), DEMONSTRATION).expect("it is valid")
    }

    /// Validates a configuration that has been read; `path` is for messages, and its folder for the
    /// relative paths of discovered files.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        validate::validate(text, directory).map_err(|faults| ConfigError {
            path: path.to_owned(),
            faults,
        })
    }
}
