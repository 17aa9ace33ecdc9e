//! Lists in files: all that match a pattern, in the order of their paths.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::{DiscoveryError, format};
use crate::domain::{DeviceList, MAX_DEVICES};

/// The largest file, in bytes; one of a million devices fits.
const MAX_BYTES: u64 = 64 << 20;

/// The most files that a pattern may match.
const MAX_FILES: usize = 10_000;

/// Lists that are read at once, in this process: file systems that hang cost so many threads.
static ROOM: Semaphore = Semaphore::const_new(64);

/// Those that are being read: one that hangs takes one place, however often it is to be read.
static BEING_READ: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A list's place among those that are being read.
struct Turn(PathBuf);

impl Turn {
    fn take(pattern: &Path) -> Option<Self> {
        let mut being_read = BEING_READ.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = pattern.to_owned();
        being_read.insert(turn.clone()).then(|| Self(turn))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut being_read = BEING_READ.lock().unwrap_or_else(PoisonError::into_inner);
        being_read.remove(&self.0);
    }
}

/// Reads all of them. That there is none is an empty list if any may come and go, and an error if
/// one is named.
pub(super) async fn read(pattern: PathBuf) -> Result<DeviceList, DiscoveryError> {
    let cannot = |why: &dyn std::fmt::Display| DiscoveryError::File {
        path: pattern.display().to_string(),
        why: why.to_string(),
    };
    let turn = Turn::take(&pattern);
    let turn = turn.ok_or_else(|| cannot(&"it is still being read, since an earlier time"))?;
    // Closed never, as nobody does.
    let place = ROOM.acquire().await.map_err(|error| cannot(&error))?;
    let path = pattern.clone();
    let read = tokio::task::spawn_blocking(move || {
        // Held until the system answers, not only until nobody waits any more.
        let _held = (place, turn);
        read_all(&path)
    });
    read.await.map_err(|error| cannot(&error))?
}

fn read_all(pattern: &Path) -> Result<DeviceList, DiscoveryError> {
    let mut list = DeviceList::new();
    let mut devices = 0;
    for path in matching(pattern)? {
        let shown = path.display().to_string();
        let json = read_file(&path).map_err(|why| DiscoveryError::File {
            path: shown.clone(),
            why,
        })?;
        let groups = format::parse(&shown, &json)?;
        devices += groups.iter().map(|it| it.devices.len()).sum::<usize>();
        if devices > MAX_DEVICES {
            return Err(DiscoveryError::TooMany(devices));
        }
        list.extend(groups);
    }
    Ok(list)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    let name = pattern.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let cannot = |why: &dyn std::fmt::Display| DiscoveryError::File {
        path: folder.display().to_string(),
        why: why.to_string(),
    };
    let matches = glob::Pattern::new(name).map_err(|error| cannot(&error))?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| cannot(&error))? {
        let entry = entry.map_err(|error| cannot(&error))?;
        let is_match = entry
            .file_name()
            .to_str()
            .is_some_and(|it| matches.matches(it));
        if is_match {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            return Err(cannot(&format!(
                "more than {MAX_FILES} files match {name:?}"
            )));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads a file that may be anything.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("this is no file".to_owned());
    }
    let mut json = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut json))
        .map_err(|error| error.to_string())?;
    if json.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(pattern: &Path) -> Result<Vec<String>, String> {
        let list = read_all(pattern).map_err(|error| error.to_string())?;
        let devices = list.iter().flat_map(|group| &group.devices);
        Ok(devices.map(|device| device.id.to_string()).collect())
    }

    #[test]
    fn files_are_read_in_the_order_of_their_paths() {
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
        assert_eq!(ids(&all).unwrap(), ["a", "b1", "b0"]);
        assert_eq!(ids(&dir.path().join("b.json")).unwrap(), ["b1", "b0"]);
        assert!(ids(&dir.path().join("[d-z].json")).unwrap().is_empty());
        std::fs::write(dir.path().join("c.json"), "[{").unwrap();
        let error = ids(&all).unwrap_err();
        assert!(
            error.contains("c.json: this is no list of targets"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let named = ids(&dir.path().join("a.json")).unwrap_err();
        assert!(named.contains("a.json: No such file"), "{named}");
        let folder = ids(&dir.path().join("none/*.json")).unwrap_err();
        assert!(folder.contains("/none: No such file"), "{folder}");
        std::fs::create_dir(dir.path().join("d.json")).unwrap();
        let folder = ids(&dir.path().join("*.json")).unwrap_err();
        assert!(folder.ends_with("d.json: this is no file"), "{folder}");
    }
}
