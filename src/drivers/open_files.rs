//! What a lookup takes of the files that this process may have open.

use crate::domain::DriverKind;

/// How many files a lookup of this driver has open at a time: its sockets, where a name's next address
/// may be tried beside the first; a command's pipes, and the socket and the handle of its scope.
pub(crate) const fn open_files(driver: DriverKind) -> u32 {
    match driver {
        DriverKind::Simulated => 0,
        DriverKind::Snmp => 1,
        DriverKind::Tcp | DriverKind::Http | DriverKind::Prometheus | DriverKind::Redfish => 2,
        DriverKind::Exec | DriverKind::Ssh => 4,
    }
}
