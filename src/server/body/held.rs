//! A body that holds something until it is sent: whatever bounds how many there are.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

/// How much of a body is handed to the connection at a time, in bytes.
pub(crate) const PIECE_LEN: usize = 64 << 10;

/// A body, and what it holds.
pub(crate) struct HeldBody<T> {
    body: Bytes,
    _held: T,
}

impl<T> HeldBody<T> {
    pub(crate) fn new(body: impl Into<Bytes>, held: T) -> Self {
        let body = body.into();
        Self { body, _held: held }
    }
}

impl<T: Unpin> MessageBody for HeldBody<T> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    /// In pieces, since what is given is taken as sent, and what is held with it.
    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let len = self.body.len().min(PIECE_LEN);
        Poll::Ready((len > 0).then(|| Ok(self.body.split_to(len))))
    }
}
