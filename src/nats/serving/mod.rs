//! A worker's side of an order: asks the devices, and sends what they say in pieces.

mod sending;
mod server;
mod state;

pub(super) use server::RequestServer;
pub(super) use state::StateQueryLimit;
