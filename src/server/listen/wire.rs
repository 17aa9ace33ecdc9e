//! A client's connection, of which the first bytes may have been read already.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::web::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::server::guard::record::ConnectionRecord;

/// A socket that can be taken from one thread to another.
#[derive(Debug)]
pub(super) struct Wire(Option<TcpStream>);

/// A connection, encrypted or not.
#[derive(Debug)]
enum Stream {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// A connection as HTTP is spoken on it.
#[derive(Debug)]
pub(in crate::server) struct Io {
    /// Read already.
    head: Bytes,
    stream: Stream,
    record: Arc<ConnectionRecord>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    /// Wakes this thread from now on. It waits until that is so: actix-http drops what it cannot write
    /// at once to a client whose request is broken.
    async fn settle(&mut self) -> Result<()> {
        if let Some(stream) = self.0.take() {
            let stream = TcpStream::from_std(stream.into_std()?)?;
            stream.writable().await?;
            self.0 = Some(stream);
        }
        Ok(())
    }

    fn stream(self: Pin<&mut Self>) -> Result<Pin<&mut TcpStream>> {
        let lost = || Error::from(ErrorKind::NotConnected);
        self.get_mut().0.as_mut().map(Pin::new).ok_or_else(lost)
    }
}

impl Io {
    pub(super) fn plain(wire: Wire) -> Self {
        Self::new(Stream::Plain(wire))
    }

    pub(super) fn tls(stream: TlsStream<Wire>) -> Self {
        Self::new(Stream::Tls(Box::new(stream)))
    }

    fn new(stream: Stream) -> Self {
        Self {
            head: Bytes::new(),
            stream,
            record: Arc::default(),
        }
    }

    /// What happens on it.
    pub(super) fn record(&self) -> &Arc<ConnectionRecord> {
        &self.record
    }

    /// Puts bytes back that were read.
    pub(super) fn unread(&mut self, head: impl Into<Bytes>) {
        self.head = head.into();
    }

    /// Takes the connection to this thread.
    ///
    /// # Errors
    /// If the system does not let this thread wait for it.
    pub(super) async fn settle(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(wire) => wire.settle().await,
            Stream::Tls(tls) => tls.get_mut().0.settle().await,
        }
    }

    /// Its socket.
    pub(super) fn socket(&self) -> Option<SockRef<'_>> {
        let wire = match &self.stream {
            Stream::Plain(wire) => wire,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        wire.0.as_ref().map(SockRef::from)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if !self.head.is_empty() {
            let len = self.head.len().min(buffer.remaining());
            buffer.put_slice(&self.head[..len]);
            self.head.advance(len);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_read(context, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        };
        let has_ended = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if has_ended {
            self.record.closed();
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
