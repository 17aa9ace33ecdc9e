//! Ctrl-C: the first time what has come is printed, the second time it ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What shells give for a process that SIGINT ended.
pub(super) const EXIT_CODE: u8 = 130;

/// Resolves at the first Ctrl-C. At the second the process ends, whatever it is waiting for: a pipe
/// that nobody reads, or code that blocks. So this has a thread of its own.
pub(super) fn watch() -> std::io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut interrupts = {
        let _guard = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let (first, stop) = oneshot::channel();
    std::thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                interrupts.recv().await;
                // Nobody listens any more when all has come and is being printed.
                if first.send(()).is_ok() {
                    interrupts.recv().await;
                }
            });
            end();
        })?;
    Ok(stop)
}

#[expect(
    clippy::exit,
    reason = "whoever pressed it twice does not want to wait"
)]
fn end() {
    crate::telemetry::flush();
    std::process::exit(i32::from(EXIT_CODE));
}
