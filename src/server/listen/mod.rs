//! What listens, and the threads that answer.
//!
//! One thread takes all connections and answers those that ask how the service does ([`acceptor`]);
//! the others are shared out over as many threads as there are processors ([`worker`]). It knows of
//! requests only how they begin.

pub(crate) mod acceptor;
mod crowds;
mod handshakes;
pub(crate) mod pending;
mod rooms;
mod serve;
mod server;
mod wire;
mod worker;

pub(crate) use server::Server;
