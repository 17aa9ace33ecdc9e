//! The `fleetcall` binary.
fn main() {}
