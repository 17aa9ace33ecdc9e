//! Answers that are written while they are sent, so that none is ever whole in memory.
//!
//! The head of an answer tells how long its body is, and what its hash is. So what is more than one
//! piece is written twice: to be measured, each piece in the place of the one before, and to be
//! sent, each when the connection has room for it. What is no more is written once and is there.
//!
//! How long a client may keep an answer that it does not take is for the connection to say
//! (`SEND_TIMEOUT`), and how many such answers there are for what a body holds.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

use super::indent::Indent;
use crate::domain::{ITEMS_PER_TURN, poll_give_way};
use crate::server::body::held::PIECE_LEN;

/// How many pieces a connection may take one after another before others of its thread have their
/// turn: less than a millisecond's worth.
const PIECES_OF_A_TURN: usize = 2;

/// How many devices are looked at for a piece at most, whether they are shown or not.
const LOOKS_OF_A_PIECE: usize = 4 * ITEMS_PER_TURN;

/// How many bytes are written before a piece of this length is taken as full: the rest of a device
/// comes on top, and most have room then.
fn aim(piece_len: usize) -> usize {
    piece_len - piece_len / 64
}

/// What writes a JSON text on one line, and stops on the way. It writes the same each time, and a
/// clone goes on from where it was cloned.
pub(crate) trait WriteJson: Clone + Unpin {
    /// Appends what comes next until `text` has `len` bytes, and the rest of a device, or no `looks` at
    /// devices are left; tells whether that was all.
    fn write(&mut self, text: &mut Vec<u8>, len: usize, looks: &mut usize) -> bool;

    /// About how long the whole is, in bytes.
    fn expected_len(&self) -> usize;
}

/// The pieces of a text that are still to be written.
#[derive(Debug, Clone)]
struct Pieces<W> {
    writer: W,
    indent: Option<Indent>,
    is_over: bool,
}

impl<W: WriteJson> Pieces<W> {
    /// Appends the next piece, which is shorter where many devices are not shown; nothing if there is
    /// none.
    fn write(&mut self, text: &mut Vec<u8>, len: usize) {
        if self.is_over {
            return;
        }
        let mut looks = LOOKS_OF_A_PIECE;
        let Some(indent) = &mut self.indent else {
            self.is_over = self.writer.write(text, len, &mut looks);
            return;
        };
        // Device by device, as nobody knows how much longer each is then.
        let mut plain = Vec::new();
        while text.len() < len && looks > 0 && !self.is_over {
            plain.clear();
            self.is_over = self.writer.write(&mut plain, 1, &mut looks);
            indent.write(&plain, text);
        }
    }
}

/// An answer of which the first piece is written.
#[derive(Debug)]
pub(crate) struct BegunBody<W> {
    first: Vec<u8>,
    rest: Pieces<W>,
    piece_len: usize,
}

impl<W: WriteJson> BegunBody<W> {
    /// Begins to write, indented by two spaces or on one line.
    pub(crate) fn new(writer: W, indent: bool) -> Self {
        Self::in_pieces(writer, indent, PIECE_LEN)
    }

    fn in_pieces(writer: W, indent: bool, piece_len: usize) -> Self {
        let mut first = Vec::with_capacity(writer.expected_len().min(piece_len));
        let mut rest = Pieces {
            writer,
            indent: indent.then(Indent::default),
            is_over: false,
        };
        rest.write(&mut first, aim(piece_len));
        Self {
            first,
            rest,
            piece_len,
        }
    }

    /// The whole text, if it is no more than one piece.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.rest.is_over.then_some(&self.first)
    }

    /// Shows every piece, and tells how long all are together. Between two of them others of this
    /// thread have their turn, and dropped there it is given up.
    pub(crate) async fn measure(&self, mut look: impl FnMut(&[u8])) -> u64 {
        look(&self.first);
        let mut len = self.first.len();
        let (mut rest, mut piece) = (self.rest.clone(), Vec::new());
        while !rest.is_over {
            tokio::task::yield_now().await;
            piece.clear();
            rest.write(&mut piece, aim(self.piece_len));
            look(&piece);
            len += piece.len();
        }
        // A usize has no more than 64 bits.
        u64::try_from(len).unwrap_or(u64::MAX)
    }

    /// What is sent, `len` bytes as measured; it keeps `held` until then.
    pub(crate) fn into_body<T: Unpin>(self, len: u64, held: T) -> StreamedBody<W, T> {
        StreamedBody {
            len,
            ready: self.first.into(),
            rest: (!self.rest.is_over).then_some(self.rest),
            piece_len: self.piece_len,
            pieces: 0,
            _held: held,
        }
    }
}

/// A body that is written while it is sent, and what it holds.
#[derive(Debug)]
pub(crate) struct StreamedBody<W, T> {
    /// How long it is, in bytes.
    len: u64,
    /// What is written and not sent.
    ready: Bytes,
    /// What is not written; `None` as soon as all is, so that nothing is kept for it.
    rest: Option<Pieces<W>>,
    piece_len: usize,
    /// Pieces of this turn so far.
    pieces: usize,
    _held: T,
}

impl<W: WriteJson, T: Unpin> StreamedBody<W, T> {
    fn write_next(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        let mut piece = Vec::with_capacity(self.piece_len);
        rest.write(&mut piece, aim(self.piece_len));
        self.ready = piece.into();
        if rest.is_over {
            self.rest = None;
        }
    }
}

impl<W: WriteJson, T: Unpin> MessageBody for StreamedBody<W, T> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.len)
    }

    /// Asked only while the connection has room, so a client that does not read has a piece written
    /// for it and no more.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        while self.ready.is_empty() && self.rest.is_some() {
            if self.pieces == PIECES_OF_A_TURN {
                self.pieces = 0;
                if poll_give_way(context).is_pending() {
                    return Poll::Pending;
                }
            }
            self.pieces += 1;
            self.write_next();
        }
        // The rest of a device can make it longer.
        let len = self.ready.len().min(self.piece_len);
        Poll::Ready((len > 0).then(|| Ok(self.ready.split_to(len))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use futures::executor::block_on;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use xxhash_rust::xxh3::{Xxh3, xxh3_128};

    use super::*;
    use crate::domain::{
        Cluster, Collection, CollectionBuilder, DeviceKind, Facts, Fault, FaultKind, Id, Topology,
    };
    use crate::server::body::listing::Listing;
    use crate::server::view::{TestReport, report};

    /// What comes of asking a device: facts, or why there are none.
    type Came = Result<Value, String>;

    fn collection(clusters: &[(Vec<Came>, Vec<Came>)]) -> Collection {
        let ids = |devices: &[Came]| (1..=devices.len() as u64).map(Id::number).collect();
        let topology = clusters
            .iter()
            .enumerate()
            .map(|(place, (nodes, switches))| {
                let id = match place % 2 {
                    0 => Id::number(place as u64),
                    _ => Id::name(&format!("c{place}")).unwrap(),
                };
                Cluster::new(id, ids(nodes), ids(switches))
            });
        let topology = Topology::new(topology.collect());
        let builder = Arc::new(CollectionBuilder::new(Arc::new(topology)));
        for (place, (nodes, switches)) in clusters.iter().enumerate() {
            for (index, came) in nodes.iter().chain(switches).enumerate() {
                let outcome = match came {
                    Ok(facts) => Ok(Facts::new(facts, 0)),
                    Err(why) => Err(Arc::new(Fault::new(FaultKind::Failed, why.clone()))),
                };
                builder.answer(place, index, outcome);
            }
        }
        builder.close(&Arc::new(Fault::new(FaultKind::TimedOut, "too late")))
    }

    /// The same answer, said by other means.
    fn expected(collection: &Collection, message: &str) -> Value {
        let clusters = collection.clusters().map(|(cluster, outcomes)| {
            let list = |of: DeviceKind, key: &str| {
                let devices = outcomes.iter().enumerate().filter_map(|(index, outcome)| {
                    let (kind, id) = cluster.device(index);
                    let mut device = json!({ key: id });
                    match outcome {
                        Ok(facts) if facts.json().is_none() => {}
                        Ok(facts) => device["facts"] = facts.to_map().into(),
                        Err(fault) => {
                            let message = fault.message();
                            device["error"] = json!({"kind": "failed", "message": message});
                        }
                    }
                    (kind == of).then_some(device)
                });
                devices.collect::<Vec<_>>()
            };
            json!({
                "cluster_id": cluster.id(),
                "nodes": list(DeviceKind::Node, "node_id"),
                "switches": list(DeviceKind::Switch, "switch_id"),
            })
        });
        let code = u8::from(!message.is_empty());
        json!({"error_code": code, "message": message, "data": clusters.collect::<Vec<_>>()})
    }

    fn answer(collection: &Collection) -> Listing<TestReport> {
        report(collection.clone(), &collection.summary())
    }

    fn hash(begun: &BegunBody<Listing<TestReport>>) -> (u128, u64) {
        let mut hash = Xxh3::new();
        let len = block_on(begun.measure(|piece| hash.update(piece)));
        (hash.digest128(), len)
    }

    /// What is sent next.
    fn next<T: Unpin>(body: &mut StreamedBody<Listing<TestReport>, T>) -> Option<Bytes> {
        let piece = block_on(poll_fn(|context| Pin::new(&mut *body).poll_next(context)));
        piece.map(|piece| match piece {
            Ok(piece) => piece,
            Err(never) => match never {},
        })
    }

    fn facts() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u32>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        let list = prop::collection::vec(leaf, 0..4).prop_map(Value::from);
        prop::collection::vec((r#"[a-c{"\\]"#, list), 0..4)
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
    }

    fn devices() -> impl Strategy<Value = Vec<Came>> {
        prop::collection::vec(prop_oneof![facts().prop_map(Ok), ".*".prop_map(Err)], 0..6)
    }

    proptest! {
        /// However small the pieces are, they are together what serde_json prints of the same.
        #[test]
        fn pieces_are_the_whole(
            clusters in prop::collection::vec((devices(), devices()), 0..5),
            piece_len in 1_usize..400,
            indent: bool,
        ) {
            let collection = collection(&clusters);
            let whole = answer(&collection).into_json(indent);
            let value: Value = serde_json::from_slice(&whole).unwrap();
            let value = expected(&collection, value["message"].as_str().unwrap());
            let text = if indent {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            prop_assert_eq!(std::str::from_utf8(&whole).unwrap(), &text);
            let begun = BegunBody::in_pieces(answer(&collection), indent, piece_len);
            let (mark, len) = hash(&begun);
            prop_assert_eq!(mark, xxh3_128(&whole));
            if let Some(first) = begun.whole() {
                prop_assert_eq!(first, &whole);
            }
            let held = Arc::new(());
            let mut body = begun.into_body(len, Arc::clone(&held));
            prop_assert_eq!(body.size(), BodySize::Sized(whole.len() as u64));
            let mut sent = Vec::new();
            while let Some(piece) = next(&mut body) {
                prop_assert!((1..=piece_len).contains(&piece.len()));
                sent.extend_from_slice(&piece);
                prop_assert_eq!(Arc::strong_count(&held), 2);
            }
            prop_assert_eq!(sent, whole);
            prop_assert!(next(&mut body).is_none());
            drop(body);
            prop_assert_eq!(Arc::strong_count(&held), 1);
        }
    }

    #[test]
    fn no_more_than_a_piece_and_a_device_is_in_memory() {
        let facts = Ok(json!({ "text": "x".repeat(1000) }));
        let collection = collection(&[(vec![facts; 2000], Vec::new())]);
        for indent in [false, true] {
            let begun = BegunBody::new(answer(&collection), indent);
            let (_, len) = hash(&begun);
            assert!(len > 2_000_000 && begun.whole().is_none(), "{len}");
            assert!(begun.first.capacity() <= 2 * PIECE_LEN);
            let mut body = begun.into_body(len, ());
            let mut pieces = 0;
            while let Some(piece) = next(&mut body) {
                pieces += 1;
                assert!(piece.len() + body.ready.len() <= PIECE_LEN + 2000);
            }
            assert!((32..=80).contains(&pieces), "{pieces}");
        }
    }

    #[test]
    fn what_fits_into_a_piece_is_written_once_and_the_outcomes_are_freed() {
        let facts = Ok(json!({ "text": "x".repeat(1000) }));
        let collection = collection(&[(vec![facts; 60], Vec::new())]);
        let begun = BegunBody::new(answer(&collection), false);
        let whole = begun.whole().unwrap().to_vec();
        let body = begun.into_body(whole.len() as u64, ());
        assert!(body.rest.is_none());
        assert_eq!(body.ready, whole);
        // A little less room, and it is the same in two pieces, with the same hash.
        let cut = BegunBody::in_pieces(answer(&collection), false, whole.len() - 1);
        assert!(cut.whole().is_none());
        assert_eq!(hash(&cut), (xxh3_128(&whole), whole.len() as u64));
    }
}
