//! What errors of the system mean for whoever asks a device, and what of a device's words a message shows.

use rustix::io::Errno;

use crate::domain::{LocalReason, LookupError};
use crate::net::open_files;

impl LookupError {
    /// The error of this process or machine that an error of the system is, if it is one.
    pub(crate) fn local_io(doing: &str, error: &std::io::Error) -> Option<Self> {
        let (reason, advice) = lack(error)?;
        Some(Self::Local(reason, format!("{doing}: {error}; {advice}")))
    }

    /// What an error of a socket means; `doing` says what failed, such as `cannot connect to x:22`.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        if let Some(error) = Self::local_io(doing, error) {
            return error;
        }
        let text = format!("{doing}: {error}");
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused(text),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Self::Protocol(text),
            _ => Self::Unreachable(text),
        }
    }
}

/// What the system lacks by this error, and what helps; `None` if it is about the other side.
pub(crate) fn lack(error: &std::io::Error) -> Option<(LocalReason, &'static str)> {
    let known = match Errno::from_io_error(error)? {
        Errno::MFILE => (LocalReason::OpenFiles, open_files::ADVICE),
        Errno::NFILE => (
            LocalReason::OpenFiles,
            "raise the system's limit on open files (fs.file-max)",
        ),
        Errno::NOMEM | Errno::NOBUFS => (
            LocalReason::Memory,
            "this machine has no memory or buffers left for it",
        ),
        // The latter from a port that was to be any.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => (
            LocalReason::LocalPorts,
            "no local port or address is free (net.ipv4.ip_local_port_range), or there is no IPv6 here",
        ),
        _ => return None,
    };
    Some(known)
}

/// What a device said, for a message: short, on one line, without control characters.
pub(crate) fn said(text: &str) -> String {
    const MOST: usize = 100;
    let cut: String = text.trim().chars().take(MOST).collect();
    let more = if text.trim().chars().count() > MOST {
        "…"
    } else {
        ""
    };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fault, FaultKind};

    #[test]
    fn what_is_missing_here_is_told_from_what_a_device_does() {
        for (errno, reason) in [
            (Errno::MFILE, LocalReason::OpenFiles),
            (Errno::NFILE, LocalReason::OpenFiles),
            (Errno::NOMEM, LocalReason::Memory),
            (Errno::NOBUFS, LocalReason::Memory),
            (Errno::ADDRNOTAVAIL, LocalReason::LocalPorts),
            (Errno::ADDRINUSE, LocalReason::LocalPorts),
        ] {
            let fault = Fault::from(LookupError::io("cannot connect", &errno.into()));
            assert_eq!(fault.local_reason(), Some(reason), "{errno}");
            assert_eq!(fault.kind(), FaultKind::Failed);
            assert!(fault.message().contains("; "), "{}", fault.message());
        }
        for (errno, kind) in [
            (Errno::CONNREFUSED, FaultKind::Refused),
            (Errno::NETUNREACH, FaultKind::Unreachable),
            (Errno::HOSTUNREACH, FaultKind::Unreachable),
            (Errno::CONNRESET, FaultKind::Unreachable),
        ] {
            let fault = Fault::from(LookupError::io("cannot connect", &errno.into()));
            assert_eq!((fault.kind(), fault.local_reason()), (kind, None));
        }
    }
}
