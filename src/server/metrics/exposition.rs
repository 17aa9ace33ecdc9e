//! An exposition of metrics on its way: written by one thread, sent piece by piece by another.
//!
//! What a scrape takes does not grow with the fleet: no more than a few pieces are written before
//! the client has taken them. One that is cut off, by a bug here, ends the connection instead of
//! looking complete.

use std::fmt;
use std::io;

use actix_web::body::{BodyStream, MessageBody};
use actix_web::rt::task::spawn_blocking;
use actix_web::web::Bytes;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

/// How much is written before it is sent, in bytes.
const PIECE_LEN: usize = 64 << 10;

/// How many pieces may be written and not sent.
const PIECES: usize = 2;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpositionFormat {
    /// That of Prometheus, version 0.0.4.
    Prometheus,
    /// `OpenMetrics`, version 1.0.0.
    OpenMetrics,
}

impl ExpositionFormat {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all of `registry` on a thread of its own; `held` is let go of when that is done, or the
/// client went away.
pub(crate) fn stream(
    registry: Registry,
    format: ExpositionFormat,
    held: impl Send + 'static,
) -> impl MessageBody {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    // Its result is the end of the stream.
    drop(spawn_blocking(move || {
        let _held = held;
        let mut pieces = ExpositionPieces {
            sender,
            piece: String::with_capacity(PIECE_LEN),
        };
        let written = match format {
            ExpositionFormat::Prometheus => prometheus_text::encode(&mut pieces, &registry),
            ExpositionFormat::OpenMetrics => text::encode(&mut pieces, &registry),
        };
        // An error is a client that went away.
        written.and_then(|()| pieces.finish()).ok();
    }));
    let mut is_over = false;
    let next = move |task: &mut std::task::Context<'_>| {
        if is_over {
            return std::task::Poll::Ready(None);
        }
        receiver.poll_recv(task).map(|message| match message {
            Some(Message::Piece(piece)) => Some(Ok(piece)),
            Some(Message::End) => {
                is_over = true;
                None
            }
            None => {
                is_over = true;
                Some(Err(io::Error::other("the code that writes metrics failed")))
            }
        })
    };
    BodyStream::new(futures::stream::poll_fn(next))
}

enum Message {
    Piece(Bytes),
    /// All was written.
    End,
}

/// Hands on what is written, in pieces, and waits while nobody takes them.
struct ExpositionPieces {
    sender: mpsc::Sender<Message>,
    piece: String,
}

impl ExpositionPieces {
    fn flush(&mut self) -> fmt::Result {
        let piece = std::mem::replace(&mut self.piece, String::with_capacity(PIECE_LEN));
        self.send(Message::Piece(piece.into()))
    }

    fn send(&self, message: Message) -> fmt::Result {
        self.sender.blocking_send(message).map_err(|_| fmt::Error)
    }

    fn finish(mut self) -> fmt::Result {
        self.flush()?;
        self.send(Message::End)
    }
}

impl fmt::Write for ExpositionPieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.piece.push_str(text);
        if self.piece.len() < PIECE_LEN {
            return Ok(());
        }
        self.flush()
    }
}
