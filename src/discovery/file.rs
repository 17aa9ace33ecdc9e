//! Lists in files: all that match a pattern, in the order of their paths.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::DiscoveryError;
use super::format;
use crate::domain::{DiscoveredDevices, MAX_DEVICES};
use crate::net::files;

/// The largest file, in bytes; one of a million devices fits.
const MAX_BYTES: u64 = 64 << 20;

/// The most files that a pattern may match.
const MAX_FILES: usize = 10_000;

/// Reads all of them, within `limit`. That there is none is an empty list if any may come and go,
/// and an error if one is named.
pub(super) async fn read(
    pattern: &Path,
    limit: Duration,
) -> Result<DiscoveredDevices, DiscoveryError> {
    let mut list = DiscoveredDevices::new();
    let mut devices = 0;
    for path in matching(pattern, limit).await? {
        let json = files::FLEET.read(&path, MAX_BYTES, limit).await;
        let json = json.map_err(|error| cannot(&path, &error.cause()))?;
        let groups = format::parse(&path.display().to_string(), &json)?;
        devices += groups.iter().map(|it| it.devices.len()).sum::<usize>();
        if devices > MAX_DEVICES {
            return Err(DiscoveryError::TooMany(devices));
        }
        list.extend(groups);
    }
    Ok(list)
}

fn cannot(path: &Path, why: &dyn std::fmt::Display) -> DiscoveryError {
    DiscoveryError::File {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

async fn matching(pattern: &Path, limit: Duration) -> Result<Vec<PathBuf>, DiscoveryError> {
    let name = pattern.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let matches = glob::Pattern::new(name).map_err(|error| cannot(folder, &error))?;
    let found = files::FLEET.run(folder, limit, move |folder| Ok(look_for(folder, &matches)?));
    let mut paths = found
        .await
        .map_err(|error| cannot(folder, &error.cause()))?;
    if paths.len() > MAX_FILES {
        let why = format!("more than {MAX_FILES} files match {name:?}");
        return Err(cannot(folder, &why));
    }
    paths.sort_unstable();
    Ok(paths)
}

/// The files of a folder that match, up to one more than may.
fn look_for(folder: &Path, matches: &glob::Pattern) -> std::io::Result<Vec<PathBuf>> {
    let is_match = |entry: &std::io::Result<DirEntry>| match entry {
        Ok(entry) => {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| matches.matches(name))
        }
        Err(_) => true,
    };
    let found = std::fs::read_dir(folder)?.filter(is_match);
    let found = found.map(|entry| entry.map(|entry| entry.path()));
    found.take(MAX_FILES + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ids(pattern: &Path) -> Result<Vec<String>, String> {
        let list = read(pattern, Duration::from_secs(60)).await;
        let list = list.map_err(|error| error.to_string())?;
        let devices = list.iter().flat_map(|group| &group.devices);
        Ok(devices.map(|device| device.id.to_string()).collect())
    }

    #[tokio::test]
    async fn files_are_read_in_the_order_of_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        for (name, json) in [
            ("b.json", r#"[{"targets": ["b1", "b0"]}]"#),
            ("a.json", r#"[{"targets": ["a"]}]"#),
            ("c.json.tmp", "half-wri"),
            (".c.json.swp", "half-wri"),
        ] {
            std::fs::write(dir.path().join(name), json).unwrap();
        }
        let all = dir.path().join("*.json");
        assert_eq!(ids(&all).await.unwrap(), ["a", "b1", "b0"]);
        assert_eq!(ids(&dir.path().join("b.json")).await.unwrap(), ["b1", "b0"]);
        assert!(
            ids(&dir.path().join("[d-z].json"))
                .await
                .unwrap()
                .is_empty()
        );
        std::fs::write(dir.path().join("c.json"), "[{").unwrap();
        let error = ids(&all).await.unwrap_err();
        assert!(
            error.contains("c.json: this is no list of targets"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let named = ids(&dir.path().join("a.json")).await.unwrap_err();
        assert!(named.contains("a.json: No such file"), "{named}");
        let folder = ids(&dir.path().join("none/*.json")).await.unwrap_err();
        assert!(folder.contains("/none: No such file"), "{folder}");
        std::fs::create_dir(dir.path().join("d.json")).unwrap();
        let folder = ids(&dir.path().join("*.json")).await.unwrap_err();
        assert!(
            folder.ends_with("d.json: it is a directory, not a regular file"),
            "{folder}"
        );
    }
}
