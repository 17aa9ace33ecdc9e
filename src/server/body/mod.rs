//! Bodies of answers: held, written while they are sent, indented.

pub(crate) mod aside;
pub(crate) mod held;
pub(crate) mod indent;
pub(crate) mod list;
pub(crate) mod listing;
pub(crate) mod stream;
