//! The `fleetcall` binary: see [`fleetcall::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Made for many small pieces that several threads allocate and free; what that is worth here is
/// in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    fleetcall::cli::main()
}
