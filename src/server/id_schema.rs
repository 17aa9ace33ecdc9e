//! What an id is in the OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;

/// An id: an integer or a name, as the configuration writes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what others write")]
pub(super) enum IdSchema {
    /// An integer.
    Number(u64),
    /// A name.
    Name(String),
}
