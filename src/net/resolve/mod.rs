//! Names to addresses, without a thread for each name: one that is slow delays no other.
//!
//! All names are resolved on one thread ([`mod@service`]), which no arbiter's end touches: the sockets
//! of an answer that two devices wait for must not go with the one that asked first. What is asked
//! there is bounded ([`resolver`]), first come, first served, and is given up when whoever asked
//! goes. A lookup's timeout does that, so none is held here. An address needs none of this.
//!
//! It does not know drivers. Entry points: [`resolve`], [`srv`], [`Resolver`] for HTTP clients,
//! [`configure`].

mod order;
mod query;
mod resolver;
mod service;
mod system;

pub(crate) use query::{ResolveError, SrvTarget};
pub(crate) use resolver::{Resolver, check_host, check_unresolved, configure, resolve, srv};
