//! The files that TLS to NATS needs, as copies in memory: the client reads them again each time that
//! it connects, on threads that the end of the process waits for, and one that hangs would keep both.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::files::{self, FileError};

/// The largest file of certificates, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// A file, and its copy.
#[derive(Debug)]
struct Copied {
    path: PathBuf,
    copy: File,
}

/// Files with their copies; cheap to clone, and every clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles(Arc<[Copied]>);

impl TlsFiles {
    /// Reads them, or says which cannot be read, and why.
    pub(super) async fn read(paths: impl Iterator<Item = &PathBuf>) -> Result<Self, String> {
        let mut all = Vec::new();
        for path in paths {
            let cannot = |error: FileError| format!("{}: {error}", path.display());
            let copy = memfd_create("fleetcall", MemfdFlags::CLOEXEC);
            let copy =
                File::from(copy.map_err(|errno| cannot(std::io::Error::from(errno).into()))?);
            let copied = Copied {
                path: path.clone(),
                copy,
            };
            copied.refresh().await.map_err(cannot)?;
            all.push(copied);
        }
        Ok(Self(all.into()))
    }

    /// Where the copy of one of them is; the file itself if it is none of them.
    pub(super) fn copy_of(&self, path: &Path) -> PathBuf {
        let copied = self.0.iter().find(|copied| copied.path == path);
        copied.map_or_else(
            || path.to_owned(),
            |it| PathBuf::from(format!("/proc/self/fd/{}", it.copy.as_raw_fd())),
        )
    }

    /// Reads them again; what cannot be read stays what it was.
    pub(super) async fn refresh(self) {
        for copied in self.0.iter() {
            if let Err(error) = copied.refresh().await {
                let path = copied.path.display();
                log::debug!(path:%, error:%; "cannot read a file for TLS to NATS, what was read before stays");
            }
        }
    }
}

impl Copied {
    /// Whoever reads it meanwhile may read a mixture, and tries again.
    async fn refresh(&self) -> Result<(), FileError> {
        let bytes = files::read(&self.path, MAX_FILE_LEN, files::LIMIT).await?;
        self.copy.write_all_at(&bytes, 0)?;
        self.copy.set_len(bytes.len() as u64)?;
        Ok(())
    }
}
