//! The JSON of clusters and their devices, written step by step from a [`Collection`].
//!
//! All answers that list devices have this form; a [`Form`] says what is said of each. It does not
//! know who takes what is written, nor how it is laid out.

use serde::Serialize;

use super::indent::Indent;
use crate::domain::{Collection, DeviceId, DeviceKind, Outcome};
use crate::server::body::stream::WriteJson;

/// What an answer says beside which clusters there are.
pub trait Form: Clone + Unpin {
    /// Appends what stands before the first cluster: an object up to an array that is open.
    fn head(&self, text: &mut Vec<u8>);

    /// Whether devices with this outcome are shown.
    fn shows(&self, outcome: &Outcome) -> bool;

    /// Appends what is said of a device.
    fn device(&self, text: &mut Vec<u8>, device: &Listed<'_>);
}

/// A device whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its place in the collection: that of its cluster, and its own there.
    pub place: (usize, usize),
    /// Which kind of device it is.
    pub kind: DeviceKind,
    /// Its id.
    pub id: &'a DeviceId,
    /// What came of asking it.
    pub outcome: &'a Outcome,
}

/// A collection that is written down. A clone goes on from where it was cloned.
///
/// Holding the collection is cheap: its facts are those that the records of its devices share, as
/// long as no device has been asked again.
#[derive(Debug, Clone)]
pub struct Listing<F> {
    collection: Collection,
    form: F,
    at: At,
}

/// What is to be written next.
#[derive(Debug, Clone, Copy)]
enum At {
    Head,
    /// A cluster up to its first device, or the end of all.
    Cluster(usize),
    /// A device, or the end of its cluster.
    Device {
        cluster: usize,
        index: usize,
        /// Whether none stands in the same list yet.
        is_first: bool,
    },
    End,
}

impl<F: Form> Listing<F> {
    pub(crate) fn new(collection: Collection, form: F) -> Self {
        Self {
            collection,
            form,
            at: At::Head,
        }
    }

    /// All of the JSON text, indented by two spaces or on one line.
    #[must_use]
    pub fn into_json(mut self, indent: bool) -> Vec<u8> {
        let mut json = Vec::new();
        self.write(&mut json, usize::MAX, &mut { usize::MAX });
        indented(json, indent)
    }

    /// Opens a cluster; gives `false` if there is none.
    fn open(&self, text: &mut Vec<u8>, cluster: usize) -> bool {
        let Some(found) = self.collection.topology().clusters().get(cluster) else {
            return false;
        };
        if cluster > 0 {
            text.push(b',');
        }
        text.extend_from_slice(b"{\"cluster_id\":");
        append(text, found.id());
        text.extend_from_slice(b",\"nodes\":[");
        true
    }

    /// Appends devices from `index` on, and what closes the cluster after its last one.
    fn devices(
        &self,
        (text, len, looks): (&mut Vec<u8>, usize, &mut usize),
        (place, index): (usize, usize),
        mut is_first: bool,
    ) -> At {
        let (cluster, outcomes) = self.collection.cluster(place);
        let nodes = cluster.nodes();
        for (index, outcome) in (index..).zip(outcomes.after(index).iter()) {
            if text.len() >= len || *looks == 0 {
                return At::Device {
                    cluster: place,
                    index,
                    is_first,
                };
            }
            *looks -= 1;
            if index == nodes {
                text.extend_from_slice(SWITCHES);
                is_first = true;
            }
            if !self.form.shows(outcome) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            let (kind, id) = cluster.device(index);
            let device = Listed {
                place: (place, index),
                kind,
                id,
                outcome,
            };
            self.form.device(text, &device);
        }
        if nodes == cluster.len() {
            text.extend_from_slice(SWITCHES);
        }
        text.extend_from_slice(b"]}");
        At::Cluster(place + 1)
    }
}

/// Stands between the nodes of a cluster and its switches.
const SWITCHES: &[u8] = b"],\"switches\":[";

impl<F: Form> WriteJson for Listing<F> {
    fn write(&mut self, text: &mut Vec<u8>, len: usize, looks: &mut usize) -> bool {
        while text.len() < len && *looks > 0 {
            self.at = match self.at {
                At::Head => {
                    self.form.head(text);
                    At::Cluster(0)
                }
                At::Cluster(cluster) if self.open(text, cluster) => At::Device {
                    cluster,
                    index: 0,
                    is_first: true,
                },
                At::Cluster(_) => {
                    text.extend_from_slice(b"]}");
                    At::End
                }
                At::Device {
                    cluster,
                    index,
                    is_first,
                } => self.devices((text, len, looks), (cluster, index), is_first),
                At::End => return true,
            };
        }
        matches!(self.at, At::End)
    }

    /// Enough for devices that say no more than their name.
    fn expected_len(&self) -> usize {
        const HEAD: usize = 128;
        const CLUSTER: usize = 48;
        const DEVICE: usize = 24;
        let topology = self.collection.topology();
        HEAD + CLUSTER * topology.clusters().len() + DEVICE * topology.devices()
    }
}

/// Appends the JSON of a value.
#[expect(
    clippy::expect_used,
    reason = "string keys, and a Vec takes everything"
)]
pub(crate) fn append(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("these types have a JSON form");
}

/// A whole JSON text, indented by two spaces or as it is.
pub(crate) fn indented(json: Vec<u8>, indent: bool) -> Vec<u8> {
    if !indent {
        return json;
    }
    let mut text = Vec::with_capacity(2 * json.len());
    Indent::default().write(&json, &mut text);
    text
}
