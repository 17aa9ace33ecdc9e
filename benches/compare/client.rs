//! A client of HTTP/1.1 that costs little, since it shares the processors with those it measures.
//!
//! It asks one request at a time of a connection, and reads answers of a known length and chunked
//! ones.

use std::io::{Error, ErrorKind, Result};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const TEST: &[u8] = b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Large answers are read in pieces of this size.
const PIECE: usize = 1 << 20;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What was read and is not yet taken.
    raw: Vec<u8>,
}

/// An answer, apart from its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// It says when to try again.
    pub(crate) retry_after: bool,
    /// When its first byte had come.
    pub(crate) first: Instant,
    /// All bytes of it.
    pub(crate) bytes: usize,
}

/// What is still to come of a body.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// So many bytes.
    Known(usize),
    /// A chunk's size.
    Size,
    /// So many bytes of a chunk, then the end of its line.
    Chunk(usize),
    /// The end of a chunk's line.
    ChunkEnd,
    /// Lines up to an empty one.
    Trailer,
    Nothing,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            raw: Vec::with_capacity(4096),
        })
    }

    /// Asks and reads the whole answer into `body`, in place of what is there.
    pub(crate) async fn get(&mut self, request: &[u8], body: &mut Vec<u8>) -> Result<Head> {
        body.clear();
        self.exchange(request, |_, piece| body.extend_from_slice(piece))
            .await
    }

    /// Asks, and hands on each piece of the body with the time when it came.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        mut each: impl FnMut(Instant, &[u8]),
    ) -> Result<Head> {
        self.stream.write_all(request).await?;
        self.raw.clear();
        self.read().await?;
        let first = Instant::now();
        let (head, mut rest) = loop {
            if let Some(parsed) = self.head(first)? {
                break parsed;
            }
            self.read().await?;
        };
        let mut start = head.bytes;
        let mut now = first;
        loop {
            start += rest.take(&self.raw[start..], |piece| each(now, piece))?;
            if matches!(rest, Rest::Nothing) {
                return Ok(head);
            }
            self.raw.drain(..start);
            start = 0;
            self.read().await?;
            now = Instant::now();
        }
    }

    /// More than nothing.
    async fn read(&mut self) -> Result<()> {
        if self.raw.len() == self.raw.capacity() {
            self.raw.reserve(self.raw.len().clamp(4096, PIECE));
        }
        if self.stream.read_buf(&mut self.raw).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The head and how its body ends, if all of the head is there.
    fn head(&self, first: Instant) -> Result<Option<(Head, Rest)>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = response.parse(&self.raw).map_err(Error::other)?
        else {
            return Ok(None);
        };
        let mut head = Head {
            status: response.code.unwrap_or_default(),
            retry_after: false,
            first,
            bytes,
        };
        let mut rest = None;
        for header in response.headers.iter() {
            let is = |name| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let length = str::from_utf8(header.value).map_err(Error::other)?;
                rest = Some(match length.parse().map_err(Error::other)? {
                    0 => Rest::Nothing,
                    length => Rest::Known(length),
                });
            } else if is("transfer-encoding") {
                rest = Some(Rest::Size);
            } else if is("retry-after") {
                head.retry_after = true;
            }
        }
        let rest = rest.ok_or_else(|| Error::other("an answer without an end"))?;
        Ok(Some((head, rest)))
    }
}

impl Rest {
    /// Hands on what there is of the body in `input`; how much of `input` is taken.
    fn take(&mut self, input: &[u8], mut each: impl FnMut(&[u8])) -> Result<usize> {
        let mut at = 0;
        loop {
            let left = &input[at..];
            match *self {
                Self::Known(length) | Self::Chunk(length) => {
                    let here = length.min(left.len());
                    if here > 0 {
                        each(&left[..here]);
                    }
                    at += here;
                    let still = length - here;
                    *self = match *self {
                        Self::Known(_) if still == 0 => Self::Nothing,
                        Self::Known(_) => Self::Known(still),
                        _ if still == 0 => Self::ChunkEnd,
                        _ => Self::Chunk(still),
                    };
                    if still > 0 {
                        return Ok(at);
                    }
                }
                Self::Size => {
                    let size = httparse::parse_chunk_size(left);
                    match size.map_err(|_| Error::other("not the size of a chunk"))? {
                        httparse::Status::Partial => return Ok(at),
                        httparse::Status::Complete((bytes, 0)) => {
                            at += bytes;
                            *self = Self::Trailer;
                        }
                        httparse::Status::Complete((bytes, size)) => {
                            at += bytes;
                            *self = Self::Chunk(usize::try_from(size).map_err(Error::other)?);
                        }
                    }
                }
                Self::ChunkEnd | Self::Trailer => {
                    let Some(end) = left.windows(2).position(|it| it == b"\r\n") else {
                        return Ok(at);
                    };
                    at += end + 2;
                    *self = match *self {
                        Self::ChunkEnd => Self::Size,
                        _ if end == 0 => Self::Nothing,
                        _ => Self::Trailer,
                    };
                }
                Self::Nothing => return Ok(at),
            }
        }
    }
}
