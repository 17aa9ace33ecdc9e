//! What a driver is called with, and the deadline that it keeps.

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use crate::domain::{ClusterId, DeviceId, DeviceKind, Facts, LookupError, Template};
use crate::net::secret;

/// One lookup: whom to ask, and the how-manieth time that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) kind: DeviceKind,
    pub(crate) device: &'a DeviceId,
    /// The port that it was discovered with, if it was.
    pub(crate) port: Option<NonZeroU16>,
    /// Counts the lookups of this device from 0, over restarts of its actor.
    pub(crate) number: u32,
    /// When whoever asks gives up.
    pub(crate) deadline: Instant,
    /// How long that was from the first attempt; what an error says.
    pub(crate) timeout: Duration,
}

impl<'a> Call<'a> {
    /// The lookup, given up at the deadline: the device's fault, unless a file of ours was awaited.
    pub(crate) fn bound(
        self,
        lookup: impl Future<Output = Result<Facts, LookupError>> + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<Facts, LookupError>> + 'a>> {
        let bound = tokio::time::timeout_at(self.deadline, lookup);
        let given_up = move || secret::awaited().unwrap_or(LookupError::TimedOut(self.timeout));
        Box::pin(bound.map(move |ended| ended.unwrap_or_else(|_| Err(given_up()))))
    }

    /// The text for the device that is asked.
    pub(crate) fn expand(&self, template: &Template) -> String {
        template.expand(self.cluster, self.device, self.port)
    }
}

#[cfg(test)]
impl<'a> Call<'a> {
    /// The first one of a node, which begins now.
    pub(super) fn within(id: &'a DeviceId, timeout: Duration) -> Self {
        Self {
            cluster: id,
            kind: DeviceKind::Node,
            device: id,
            port: None,
            number: 0,
            deadline: Instant::now() + timeout,
            timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::domain::{Fault, LocalReason, SecretSource};
    use crate::net::files;

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_hangs_is_no_silence_of_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cr3t").unwrap();
        let id = DeviceId::number(1);
        let call = Call::within(&id, Duration::from_millis(1999));
        let source = SecretSource::File(path.clone());
        // Its timer is the first to end it.
        let lookup = || async {
            secret::read(&source, call.deadline + Duration::from_secs(1)).await?;
            std::future::pending().await
        };
        let awaits_file = AtomicBool::default();
        let release = files::hang(&files::FLEET, &path);
        // Cut off from outside.
        let cut_off = secret::using(&awaits_file, call.bound(lookup()));
        assert!(cut_off.now_or_never().is_none());
        assert!(awaits_file.load(Ordering::Relaxed));
        // By its own deadline.
        let (ended, _) = secret::using(&awaits_file, call.bound(lookup())).await;
        assert!(!awaits_file.load(Ordering::Relaxed));
        let fault = Fault::from(ended.unwrap_err());
        assert_eq!(fault.local_reason(), Some(LocalReason::Secret));
        let message = fault.message();
        assert!(message.ends_with("did not answer within 3s"), "{message}");
        drop(release);
    }
}
