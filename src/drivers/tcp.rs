//! The `tcp` driver: connects; with TLS, shakes hands and looks at the certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

use super::call::Call;
use super::facts::FactSheet;
use crate::domain::{Allow, Facts, LocalReason, LookupError, TcpSettings};
use crate::net::error::{lack, said};
use crate::net::resolve::resolve;
use crate::net::tls;
use crate::net::tls::TlsClient;

/// How long an address may be silent before the next one is tried beside it.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A group of devices that are connected to.
#[derive(Debug)]
pub(crate) struct Tcp {
    settings: TcpSettings,
    tls: Option<TlsClient>,
    allow: Option<Arc<Allow>>,
}

impl Tcp {
    pub(super) fn new(settings: TcpSettings, allow: Option<Arc<Allow>>) -> Self {
        let tls = settings.tls.clone().map(TlsClient::new);
        Self {
            settings,
            tls,
            allow,
        }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let address = call.expand(&self.settings.address);
        let tls = match &self.tls {
            Some(tls) => Some(tls.config(call.deadline).await?),
            None => None,
        };
        let start = Instant::now();
        let doing = format!("cannot connect to {address}");
        let addresses = resolve(&address, self.allow.as_deref()).await;
        let addresses = addresses.map_err(|error| error.explain(&doing))?;
        let stream = connect(&addresses).await;
        let stream = stream.map_err(|error| LookupError::io(&doing, &error))?;
        let mut facts = FactSheet {
            connect_seconds: Some(start.elapsed().as_secs_f64()),
            ..FactSheet::default()
        };
        if let Some(tls) = tls {
            certificate(stream, &address, tls, &mut facts).await?;
        }
        Ok(facts.into())
    }
}

/// Connects to one of a name's addresses: to the next one as soon as one fails, or is silent for
/// [`NEXT_ADDRESS`] (RFC 8305, section 5).
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut addresses = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::other("the name has no address");
    // Whether that is an address' own error.
    let mut is_said = false;
    loop {
        let next = addresses.next();
        attempts.extend(next.map(|&address| TcpStream::connect(address)));
        let is_last = addresses.as_slice().is_empty();
        tokio::select! {
            done = attempts.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                // What an address says outweighs that there is no way to another one.
                Some(Err(error)) if lack(&error).is_none() || !is_said => {
                    is_said = lack(&error).is_none();
                    last = error;
                }
                Some(Err(_)) => {}
                None if next.is_none() => return Err(last),
                None => {}
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if !is_last => {}
        }
    }
}

async fn certificate(
    stream: TcpStream,
    address: &str,
    config: Arc<ClientConfig>,
    facts: &mut FactSheet,
) -> Result<(), LookupError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        LookupError::Local(
            LocalReason::Setup,
            format!("{} is no name for TLS", said(host)),
        )
    })?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| match tls::cause(&error) {
        Some(error) => LookupError::Protocol(format!("{address}: {}", tls::explain(error))),
        None => LookupError::io(&format!("no TLS with {address}"), &error),
    })?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    certificate
        .and_then(|it| read_certificate(it, now, facts))
        .ok_or_else(|| LookupError::Protocol(format!("{address}: unreadable certificate")))
}

/// What a certificate says, `now` seconds after 1970; `None` if it is none.
pub(super) fn read_certificate(der: &[u8], now: i64, facts: &mut FactSheet) -> Option<()> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    facts.tls_subject = Some(certificate.subject().to_string());
    let left = certificate
        .validity()
        .not_after
        .timestamp()
        .saturating_sub(now);
    facts.tls_days_left = Some(left.div_euclid(24 * 60 * 60));
    Some(())
}
