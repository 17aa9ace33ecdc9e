//! The files with secrets that asking devices needs.
//!
//! Those of `[http]` are not among them: `access` reads them. It does not know who looks at them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Config;
use crate::domain::SecretSource;

impl Config {
    /// Those of lookups and lists, each once, with the key of the first cluster or list that needs it.
    pub(crate) fn secret_files(&self) -> Vec<(String, PathBuf)> {
        let clusters = self.clusters.iter().enumerate();
        let of_lookups = clusters.flat_map(|(place, cluster)| {
            let drivers = cluster.groups.iter().map(|group| &group.target.driver);
            drivers.flat_map(move |driver| {
                let files = driver.secrets().into_iter().filter_map(SecretSource::file);
                let files = files.chain(driver.key_file());
                files.map(move |path| (format!("clusters[{place}]"), path.clone()))
            })
        });
        let of_lists = self.discoveries.iter().flat_map(|list| {
            let files = list
                .discovery
                .secrets()
                .into_iter()
                .filter_map(SecretSource::file);
            files.map(|path| (list.key.clone(), path.clone()))
        });
        let mut seen = BTreeSet::new();
        let all = of_lookups.chain(of_lists);
        all.filter(|(_, path)| seen.insert(path.clone())).collect()
    }

    /// Whether there are secrets in its own text.
    pub(crate) fn has_inline_secrets(&self) -> bool {
        let tokens = self.http.tokens.iter().map(|it| &it.token);
        let mut all = self.secrets().into_iter().chain(tokens);
        all.any(|source| matches!(source, SecretSource::Inline(_)))
    }
}
