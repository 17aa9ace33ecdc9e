//! The configuration file: read once, valid or refused with all its faults.
//!
//! Entry point: [`Config::load`]. What is returned holds every invariant that the other rooms rely
//! on; nothing below `app` reads files or the environment. It does not know what a setting does.

mod discovery;
mod dns;
mod fault;
mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod load;
mod local;
mod lookup;
mod once;
mod reader;
mod secret_files;
mod settings;
mod source;
mod span;
mod validate;

pub use crate::net::files::Stamp;
pub use fault::{ConfigError, ConfigFault};
pub use http::{HttpConfig, Rate, TlsConfig, TokenConfig, Written};
pub use settings::{
    ClusterConfig, CollectConfig, Config, DiscoveryConfig, GroupConfig, Members, MetricsConfig,
};
pub(crate) use source::{DEFAULT_PATH, SEARCHED};
pub use source::{Edition, Publication, Source};
