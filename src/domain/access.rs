//! Who may do what over HTTP.

use std::fmt;

/// What a token allows; each role also allows what those before it do.
///
/// | role | allows |
/// | --- | --- |
/// | `read` | everything that changes nothing, roll calls included |
/// | `collect` | also asking devices out of turn |
/// | `admin` | also changing the service |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything that changes nothing.
    Read,
    /// Also asking devices out of turn.
    Collect,
    /// Also changing the service.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Collect, Self::Admin];

    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Collect => "collect",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
