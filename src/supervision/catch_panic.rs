//! Whose panic it was: runs actor code so that a panic ends in a report, and nothing else.
//!
//! The panic hook runs before anything unwinds, so by the time a reply port is dropped the report
//! is there for it. What is said of a panic (its message and source line) leaves by the log.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};

use crate::domain::{Fault, FaultKind};
use crate::telemetry::aborts;

/// The longest panic message that is kept, in bytes.
const MAX_MESSAGE_LEN: usize = 1000;

/// A panic in actor code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PanicReport {
    /// Whose code it was: `node`, `switch`, `cluster` or `supervisor`.
    pub(crate) role: &'static str,
    /// What the panic said, up to 1,000 bytes.
    pub(crate) message: String,
    /// Where, as `file:line`.
    pub(crate) at: String,
}

thread_local! {
    /// Whose code runs on this thread, if an actor's.
    static ROLE: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// The newest panic of the code that runs.
    static REPORT: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
    /// Why reply ports are being dropped on this thread.
    static DROP_REASON: RefCell<Option<Arc<Fault>>> = const { RefCell::new(None) };
}

/// Runs actor code; a panic in it becomes a report.
pub(crate) fn catch_panic<T>(
    role: &'static str,
    code: impl FnOnce() -> T,
) -> Result<T, PanicReport> {
    install_hook();
    let outer = ROLE.replace(Some(role));
    let result = catch_unwind(AssertUnwindSafe(code));
    ROLE.set(outer);
    let report = REPORT.take();
    match result {
        Ok(value) => {
            if let Some(PanicReport { message, at, .. }) = report {
                log::warn!(role, message, at; "actor code caught a panic of its own");
            }
            Ok(value)
        }
        Err(payload) => {
            let report = report.unwrap_or_else(|| PanicReport {
                role,
                // `resume_unwind` skips the hook.
                message: message(&*payload),
                at: "an unknown place".to_owned(),
            });
            drop_payload(payload);
            Err(report)
        }
    }
}

/// A panic that is kept back for a moment.
pub(crate) struct Panic(Box<dyn Any + Send>);

impl Panic {
    /// Lets it unwind, without another report.
    pub(crate) fn go_on(self) -> ! {
        resume_unwind(self.0)
    }
}

/// Runs code of which something has to be put in its place even if it panics.
pub(crate) fn uninterrupted<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panic)
}

/// Drops what `code` drops, with `drop_reason` as the fault of every reply port that goes with it.
pub(crate) fn with_drop_reason<T>(drop_reason: Arc<Fault>, code: impl FnOnce() -> T) -> T {
    let outer = DROP_REASON.replace(Some(drop_reason));
    let value = code();
    DROP_REASON.replace(outer);
    value
}

/// Why a reply port is dropped unanswered: what [`with_drop_reason`] said, or the panic that
/// unwinds.
pub(crate) fn drop_reason() -> Arc<Fault> {
    if let Some(fault) = DROP_REASON
        .try_with(|drop_reason| drop_reason.borrow().clone())
        .ok()
        .flatten()
    {
        return fault;
    }
    let report = REPORT
        .try_with(|report| report.borrow().clone())
        .ok()
        .flatten();
    match report {
        Some(report) if std::thread::panicking() => Arc::new(report.fault()),
        _ => Arc::new(Fault::new(
            FaultKind::Crashed,
            "its actor ended without an answer",
        )),
    }
}

impl PanicReport {
    /// What the callers hear. Not the source line: it names paths of the machine that built this.
    pub(crate) fn fault(&self) -> Fault {
        let Self { role, message, .. } = self;
        Fault::new(
            FaultKind::Crashed,
            format!("the {role} actor panicked: {message}"),
        )
    }
}

/// Leaves actors' panics to the supervisor, which logs them; others go on as before. So does one that
/// the supervisor will not live to log.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            match ROLE.try_with(Cell::get).ok().flatten() {
                Some(role) if !aborts(info) => note(role, info),
                Some(_) => {
                    let last = REPORT.try_with(|report| report.borrow().clone());
                    if let Some(PanicReport { role, message, at }) = last.ok().flatten() {
                        log::error!(role, panic = message, at; "actor code panicked");
                    }
                    previous(info);
                }
                None => previous(info),
            }
        }));
    });
}

fn note(role: &'static str, info: &PanicHookInfo<'_>) {
    let at = info.location().map_or_else(
        || "an unknown place".to_owned(),
        |location| format!("{}:{}", location.file(), location.line()),
    );
    // Capturing takes long; RUST_BACKTRACE and the log level have to ask for it.
    if log::log_enabled!(log::Level::Debug) {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            log::debug!(at, backtrace:%; "actor panicked");
        }
    }
    let report = PanicReport {
        role,
        message: message(info.payload()),
        at,
    };
    // Not there only while the thread ends.
    REPORT.try_with(|cell| cell.replace(Some(report))).ok();
}

fn message(payload: &dyn Any) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text");
    text[..text.floor_char_boundary(MAX_MESSAGE_LEN)].to_owned()
}

/// Drops a panic's payload, whose own `Drop` may panic.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
