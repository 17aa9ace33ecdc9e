//! What is wrong with a configuration.

use std::path::PathBuf;

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Every fault, in the order of the file; never empty.
    pub faults: Vec<ConfigFault>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Line and column, from 1; `None` if the file as a whole is at fault.
    pub place: Option<(usize, usize)>,
    /// The key, such as `clusters[2].nodes[0].ids` (positions from 0); empty if there is none.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    /// One line for each fault: `path:line:column: key: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some((line, column)) = fault.place {
                write!(f, "{line}:{column}:")?;
            }
            if !fault.key.is_empty() {
                write!(f, " {}:", fault.key)?;
            }
            write!(f, " {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
