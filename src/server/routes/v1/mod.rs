//! `/v1`: roll calls of any part of the fleet, what is known without asking, and what changed.
//!
//! Described by the OpenAPI document at `/openapi.json`, which is made from the types here.

mod action_log;
mod changes;
mod collect;
mod docs;
mod known;
pub(crate) mod openapi;
mod query;
pub(crate) mod report;
mod reset;
mod resources;
pub(in crate::server) mod responses;
mod scope;
mod view;
mod whole;
pub(crate) mod workers;

pub(in crate::server) use resources::configure;
