//! Names to addresses, by the system's resolver, so many at a time.
//!
//! The system's resolver blocks, for as long as its servers are silent, also when whoever asked has
//! gone. So it runs on threads for that, and there are never more than [`AT_ONCE`]: what else needs
//! such threads (files with secrets) finds some, however slow names are. An address needs none.

use std::net::{SocketAddr, ToSocketAddrs as _};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

/// Names that are looked up at once, in this process; a tokio runtime has 512 such threads.
const AT_ONCE: usize = 64;

static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// The addresses of `host:port`, in the system's order (RFC 6724).
pub(super) async fn resolve(address: &str) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    // Closed never, as nobody does.
    let place = ROOM.acquire().await.map_err(std::io::Error::other)?;
    let address = address.to_owned();
    let addresses = tokio::task::spawn_blocking(move || {
        // Held until the system answers, not only until nobody waits any more.
        let _place = place;
        address.to_socket_addrs().map(Iterator::collect)
    });
    addresses.await.map_err(std::io::Error::other)?
}

/// The same for HTTP clients.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is whoever connects's.
            let addresses = resolve(&format!("{}:0", name.as_str())).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// SHIM until the resolver is merged.
#[derive(Debug)]
pub(crate) struct SrvTarget {
    pub(crate) host: String,
    pub(crate) port: u16,
}
pub(crate) async fn srv(_name: &str) -> std::io::Result<Vec<SrvTarget>> {
    Err(std::io::Error::other("not yet"))
}
