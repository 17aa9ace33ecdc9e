//! The HTTP server: routes and their wire formats over a [`CollectorHandle`].
//!
//! | path | methods | what |
//! | --- | --- | --- |
//! | `/test` | `GET`, `OPTIONS` | one roll call; a contract that does not change |
//! | `/v1/supervision` | `GET` | the supervision tree as it is now |
//! | `/v1/reload` | `POST` | reads the configuration again |
//! | `/v1/…` | | roll calls of any part of the fleet, and more: see `routes::v1` |
//! | `/openapi.json`, `/docs/` | `GET` | what all that is, for programs and for people |
//! | `/metrics` | `GET`, `HEAD` | everything that is counted, for Prometheus |
//! | `/healthz` | `GET`, `HEAD` | whether roll calls can finish |
//! | `/readyz` | `GET`, `HEAD` | whether a roll call would be taken now |
//! | `/`, `/assets/…` | `GET`, `HEAD` | the status page |
//!
//! Every request passes `guard` first, then `front`. It never names an actor or a driver.
//!
//! [`CollectorHandle`]: crate::engine::collector::CollectorHandle

mod accept;
mod body;
mod contract_headers;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod crowd;
mod error;
mod front;
mod guard;
mod id_schema;
pub(crate) mod listen;
mod metrics;
mod page;
mod parameters;
pub(crate) mod routes;
mod service;
mod state;
mod tag;
mod traffic;
pub mod tree;
pub mod view;

pub(crate) use listen::Server;
pub(crate) use service::Answering;
