//! The `fleetcall` binary: see [`fleetcall::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fleetcall::cli::main()
}
