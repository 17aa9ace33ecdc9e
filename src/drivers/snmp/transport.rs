//! One UDP socket, open as long as a lookup: datagrams to one agent, and from it alone.
//!
//! It does not know what is in them, nor when to send again. Entry points: [`Transport::open`],
//! [`Transport::receive`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::domain::LookupError;

/// As large as a datagram can be; held during a lookup only.
const BUFFER_LEN: usize = 64 << 10;

/// The most bytes that all answers of a lookup may have together.
const MAX_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Transport {
    /// Connected: the system drops what comes from anywhere else, and tells when nobody listens.
    socket: UdpSocket,
    agent: SocketAddr,
    buffer: Vec<u8>,
    /// Received so far.
    bytes: usize,
    /// Whether anything was received.
    heard: Arc<AtomicBool>,
}

impl Transport {
    /// A socket with a port of its own, which no answer to an earlier lookup comes to.
    pub(super) async fn open(
        agent: SocketAddr,
        heard: Arc<AtomicBool>,
    ) -> Result<Self, LookupError> {
        let any: SocketAddr = match agent {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let cannot = |error| LookupError::io(&format!("cannot ask {agent}"), &error);
        let socket = UdpSocket::bind(any).await.map_err(cannot)?;
        socket.connect(agent).await.map_err(cannot)?;
        Ok(Self {
            socket,
            agent,
            buffer: vec![0; BUFFER_LEN],
            bytes: 0,
            heard,
        })
    }

    pub(super) async fn send(&self, message: &[u8]) -> Result<(), LookupError> {
        let sent = self.socket.send(message).await;
        sent.map(drop)
            .map_err(|error| LookupError::io(&format!("cannot ask {}", self.agent), &error))
    }

    /// The next datagram, or `None` at the deadline.
    pub(super) async fn receive(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<&[u8]>, LookupError> {
        // A timeout polls its future first, so a flood of datagrams would never reach it.
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let Ok(received) = timeout_at(deadline, self.socket.recv(&mut self.buffer)).await else {
            return Ok(None);
        };
        let len = received
            .map_err(|error| LookupError::io(&format!("no answer from {}", self.agent), &error))?;
        self.heard.store(true, Ordering::Relaxed);
        self.bytes += len;
        if self.bytes > MAX_BYTES {
            return Err(LookupError::TooLarge(MAX_BYTES));
        }
        Ok(Some(&self.buffer[..len]))
    }
}
