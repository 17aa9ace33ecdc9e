//! What TLS to NATS needs to read, as copies in memory: the client reads it again each time that it
//! connects, partly on the caller's thread, partly on threads that the end of the process waits for,
//! and a file system that hangs would keep all of them.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::Mutex;

use crate::net::authorities;
use crate::net::files;
use crate::net::files::FileError;

/// The largest file of certificates, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Where something is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CertificateOrigin {
    File(PathBuf),
    /// The system's certificates of authorities.
    System,
}

/// What is read, and its copy.
#[derive(Debug)]
struct Copied {
    origin: CertificateOrigin,
    copy: File,
}

/// Copies of all that is needed; cheap to clone, and every clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles(Arc<Copies>);

#[derive(Debug, Default)]
struct Copies {
    all: Vec<Copied>,
    /// Held while they are refreshed.
    refreshing: Mutex<()>,
    /// Held while the next refresh waits for that.
    waiting: Mutex<()>,
}

impl TlsFiles {
    /// Reads these files, and the system's authorities if they are trusted, or says what cannot be
    /// read, and why.
    pub(super) async fn read(
        files: impl Iterator<Item = &PathBuf>,
        trusts_system: bool,
    ) -> Result<Self, String> {
        let files = files.cloned().map(CertificateOrigin::File);
        let system = trusts_system.then_some(CertificateOrigin::System);
        let mut all = Vec::new();
        for origin in files.chain(system) {
            let cannot = |error: FileError| match &origin {
                CertificateOrigin::File(path) => format!("{}: {error}", path.display()),
                CertificateOrigin::System => {
                    format!("the system's certificates of authorities: {error}")
                }
            };
            let copy = memfd_create("fleetcall", MemfdFlags::CLOEXEC);
            let copy = copy.map_err(|errno| cannot(std::io::Error::from(errno).into()))?;
            let copy = File::from(copy);
            refresh(&origin, &copy).await.map_err(cannot)?;
            all.push(Copied { origin, copy });
        }
        Ok(Self(Arc::new(Copies {
            all,
            ..Copies::default()
        })))
    }

    /// Where the copy of a file is that the settings name.
    pub(super) fn of(&self, path: &Path) -> PathBuf {
        let copy = self.copy_of(&CertificateOrigin::File(path.to_owned()));
        copy.unwrap_or_else(|| path.to_owned())
    }

    /// Where the copy of the system's authorities is, if they are needed.
    pub(super) fn of_system(&self) -> Option<PathBuf> {
        self.copy_of(&CertificateOrigin::System)
    }

    fn copy_of(&self, origin: &CertificateOrigin) -> Option<PathBuf> {
        let copied = self.0.all.iter().find(|copied| copied.origin == *origin)?;
        let fd = copied.copy.as_raw_fd();
        Some(PathBuf::from(format!("/proc/self/fd/{fd}")))
    }

    /// Reads it all again, unless another one is about to; what cannot be read stays what it was.
    pub(super) async fn refresh(self) {
        let Ok(waits) = self.0.waiting.try_lock() else {
            return;
        };
        // Two would write into one copy, and wait for one file.
        let _turn = self.0.refreshing.lock().await;
        drop(waits);
        for Copied { origin, copy } in &self.0.all {
            if let Err(error) = refresh(origin, copy).await {
                log::debug!(origin:?, error:%; "cannot read again what TLS to NATS needs, what was read before stays");
            }
        }
    }
}

/// Whoever reads the copy meanwhile may read a mixture, and tries again.
async fn refresh(origin: &CertificateOrigin, copy: &File) -> Result<(), FileError> {
    let bytes = match origin {
        CertificateOrigin::File(path) => files::read(path, MAX_FILE_LEN, files::LIMIT).await?,
        CertificateOrigin::System => {
            let certificates = authorities::of_system_as_found().await?;
            let pem = |der: &[u8]| {
                let base64 = BASE64.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
            };
            let all: String = certificates.iter().map(|it| pem(it)).collect();
            all.into_bytes()
        }
    };
    copy.write_all_at(&bytes, 0)?;
    copy.set_len(bytes.len() as u64)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_refresh_at_a_time_runs_and_one_that_waits_reads_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "old, and long").unwrap();
        let files = TlsFiles::read([&path].into_iter(), false).await.unwrap();
        let copy = files.of(&path);
        let release = files::hang(&files::OWN, &path);
        let mut first = Box::pin(files.clone().refresh());
        assert!((&mut first).now_or_never().is_none());
        // Of those that a reconnect begins meanwhile one waits, and the others are over at once.
        let mut next = Box::pin(files.clone().refresh());
        assert!((&mut next).now_or_never().is_none());
        for _ in 0..100 {
            assert!(files.clone().refresh().now_or_never().is_some());
        }
        std::fs::write(&path, "new").unwrap();
        drop(release);
        first.await;
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "new");
        std::fs::write(&path, "newer").unwrap();
        next.await;
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "newer");
        std::fs::write(&path, "newest").unwrap();
        files.clone().refresh().await;
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "newest");
    }
}
