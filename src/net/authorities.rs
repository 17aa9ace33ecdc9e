//! The system's certificates of authorities: read for the first lookup that needs them, kept once there
//! are some, and read again by the next lookup until then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::{CertificateResult, ErrorKind};
use tokio::time::Instant;

use crate::domain::{LocalReason, LookupError};
use crate::net::error::lack;
use crate::net::files;
use crate::net::files::FileError;
use crate::net::secret;

/// Where they are in most systems.
const PLACE: &str = "/etc/ssl/certs";

/// What names another file or folders, as for OpenSSL.
const ELSEWHERE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

const DOING: &str = "cannot read the system's certificates of authorities";

const NONE: &str = "there are none; install them (the package ca-certificates)";

/// How long those are used of which some could not be read.
const AGAIN: Duration = Duration::from_secs(60);

/// A reload does not change them, a restart does.
static SYSTEM: Store = Store::new(load);

/// The system's authorities; waits for them until `deadline`.
pub(crate) async fn of_system(deadline: Instant) -> Result<Arc<RootCertStore>, LookupError> {
    SYSTEM.roots(&place(), deadline).await
}

/// As [`of_system_now`], for a task.
pub(crate) async fn of_system_as_found() -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found = files::share(&place(), files::LIMIT, |_| FoundAuthorities::of(load()?)).await?;
    Ok(found.certificates.clone())
}

/// The system's authorities, as it has them. Blocks for some seconds at most.
pub(crate) fn of_system_now() -> Result<Vec<CertificateDer<'static>>, LookupError> {
    let found = files::begin(&place(), files::LIMIT, |_| FoundAuthorities::of(load()?)).wait();
    let found = found
        .map_err(|error| LookupError::Local(LocalReason::File, format!("{DOING}: {error}")))?;
    if let Some(error) = found.missing {
        log::warn!(error; "cannot read some of the system's certificates of authorities");
    }
    Ok(found.certificates)
}

/// What to call the place where they are.
fn place() -> PathBuf {
    let elsewhere = ELSEWHERE.iter().find_map(std::env::var_os);
    elsewhere.map_or_else(|| PathBuf::from(PLACE), PathBuf::from)
}

fn load() -> Result<CertificateResult, FileError> {
    if let Some(file) = std::env::var_os(ELSEWHERE[0]) {
        // A pipe would be waited for, for ever.
        files::require_regular(&std::fs::metadata(file)?)?;
    }
    Ok(rustls_native_certs::load_native_certs())
}

/// Authorities, at least one.
struct FoundAuthorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
    /// Why there are not more of them, if so.
    missing: Option<String>,
}

impl FoundAuthorities {
    fn of(loaded: CertificateResult) -> Result<Self, FileError> {
        let CertificateResult {
            certs: certificates,
            errors,
            ..
        } = loaded;
        // What this process lacks is not what is wrong with them.
        let lack = errors.iter().find_map(|error| match &error.kind {
            ErrorKind::Io { inner, .. } => lack(inner).and(inner.raw_os_error()),
            _ => None,
        });
        if let Some(errno) = lack {
            return Err(io::Error::from_raw_os_error(errno).into());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let missing = errors.first().map(ToString::to_string);
        if roots.is_empty() {
            let why = missing.unwrap_or_else(|| NONE.to_owned());
            return Err(io::Error::new(io::ErrorKind::NotFound, why).into());
        }
        Ok(Self {
            certificates,
            roots,
            missing,
        })
    }
}

/// The authorities of one place.
#[derive(Debug)]
struct Store {
    load: fn() -> Result<CertificateResult, FileError>,
    state: Mutex<AuthoritiesState>,
}

#[derive(Debug)]
struct AuthoritiesState {
    /// Once there are any; with when they are read again, if some are missing.
    known: Option<(Arc<RootCertStore>, Option<Instant>)>,
    /// Since when they, or some of them, cannot be read, and why, as the log says.
    fault: Option<(Instant, String)>,
}

impl Store {
    const fn new(load: fn() -> Result<CertificateResult, FileError>) -> Self {
        Self {
            load,
            state: Mutex::new(AuthoritiesState {
                known: None,
                fault: None,
            }),
        }
    }

    /// Those that are known, or are read now.
    async fn roots(
        &'static self,
        place: &Path,
        deadline: Instant,
    ) -> Result<Arc<RootCertStore>, LookupError> {
        if let Some((roots, again)) = &mut self.state().known {
            if again.is_some_and(|again| again <= Instant::now()) {
                *again = Some(Instant::now() + AGAIN);
                // Not waited for.
                drop(files::begin(place, files::LIMIT, |place| self.read(place)));
            }
            return Ok(Arc::clone(roots));
        }
        let read = |limit| files::share(place, limit, |place| self.read(place));
        let roots = secret::wait_for_file(DOING, LocalReason::File, deadline, read).await?;
        Ok(Arc::clone(&roots))
    }

    fn state(&self) -> MutexGuard<'_, AuthoritiesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads them, on the thread of `place`. What was known before stays if there are none.
    fn read(&self, place: &Path) -> Result<Arc<RootCertStore>, FileError> {
        let found = (self.load)().and_then(FoundAuthorities::of);
        let mut state = self.state();
        match &found {
            Ok(found) => state.log(place, found.missing.as_deref(), "some of "),
            Err(error) => state.log(place, Some(&error.to_string()), ""),
        }
        let FoundAuthorities { roots, missing, .. } = found?;
        let roots = Arc::new(roots);
        let again = missing.map(|_| Instant::now() + AGAIN);
        state.known = Some((Arc::clone(&roots), again));
        Ok(roots)
    }
}

impl AuthoritiesState {
    /// When they begin not to be there, when that has another reason, and when it ends.
    fn log(&mut self, place: &Path, error: Option<&str>, some: &str) {
        let path = place.display();
        match error {
            Some(error) => {
                let before = self.fault.take();
                if before.as_ref().is_none_or(|(_, said)| said != error) {
                    log::warn!(path:%, error; "cannot read {some}the system's certificates of authorities");
                }
                let since = before.map_or_else(Instant::now, |(since, _)| since);
                self.fault = Some((since, error.to_owned()));
            }
            None => {
                if let Some((since, _)) = self.fault.take() {
                    let failing_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    log::info!(path:%, failing_ms; "the system's certificates of authorities can be read");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    static LOADED: AtomicUsize = AtomicUsize::new(0);

    /// An authority; there is none to be had the first time.
    fn load_at_last() -> Result<CertificateResult, FileError> {
        let mut found = CertificateResult::default();
        if LOADED.fetch_add(1, Ordering::SeqCst) > 0 {
            let authority = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
            found.certs.push(authority.cert.der().clone());
        }
        Ok(found)
    }

    #[tokio::test(start_paused = true)]
    async fn authorities_that_hang_or_are_missing_are_there_for_the_next_lookup_after_that() {
        static STORE: Store = Store::new(load_at_last);
        let dir = tempfile::tempdir().unwrap();
        let roots_in = |secs| {
            let deadline = Instant::now() + Duration::from_secs(secs);
            STORE.roots(dir.path(), deadline)
        };
        let release = files::hang(&files::OWN, dir.path());
        let started = Instant::now();
        let error = roots_in(3).await.unwrap_err().to_string();
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert_eq!(
            error,
            format!("{DOING}: its file system did not answer within 3s")
        );
        // Nothing waits for what is known to hang.
        let error = roots_in(2).await.unwrap_err().to_string();
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert!(error.contains("it is still being read, since"), "{error}");
        drop(release);
        // Without the clock, which does not wait for a thread.
        let read = || files::begin(dir.path(), PATIENCE, |place| STORE.read(place)).wait();
        assert_eq!(read().unwrap_err().to_string(), NONE);
        assert_eq!(read().unwrap().len(), 1);
        assert_eq!(roots_in(2).await.unwrap().len(), 1);
        assert_eq!(LOADED.load(Ordering::SeqCst), 2);
    }
}
