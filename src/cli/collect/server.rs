//! A roll call that a running service makes, as it comes in.
//!
//! First the service's tree, which says whom there is to wait for and in which order; then the
//! stream of `/v1/report`. Whatever the server is, what it sends is bounded.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::line::Line;
use super::request::RollRequest;
use crate::cli::server::{self, ServerError, TIMEOUT, TOO_LONG, TrustFlags, address, why};
use crate::cli::service;
use crate::cli::terminal::plain;
use crate::domain::{Cluster, Scope, ScopeError, Topology};
use crate::server::tree::TreeView;

/// Within less no line may be expected to answer, however short the deadline is.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// How much later than its deadline a service may end.
const GRACE: Duration = Duration::from_secs(30);

/// More than the tree of a million devices takes.
const MAX_TREE_LEN: usize = 1 << 30;

/// More than the facts of one device take.
const MAX_LINE_LEN: usize = 16 << 20;

/// More than anyone explains.
const MAX_PROBLEM_LEN: usize = 64 << 10;

const NDJSON: &str = "application/x-ndjson";

/// Why a service gives no roll call, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ServiceError {
    #[error("{0}")]
    Trust(#[from] ServerError),
    #[error("no answer: {0}")]
    Scope(#[from] ScopeError),
    #[error("cannot ask {url}: {why}")]
    Ask { url: String, why: String },
    #[error("{url} answers {status}: {detail}")]
    Refused {
        url: String,
        status: StatusCode,
        detail: String,
    },
    #[error(
        "{url} answers {status}; the service has no such path, so it is older than this command"
    )]
    Old { url: String, status: StatusCode },
    #[error("{url} does not answer as a fleetcall service does: {what}")]
    Answer { url: String, what: String },
}

/// A stream under way; dropped, the service gives it up.
#[derive(Debug)]
pub(super) struct ServiceClient {
    response: Response,
    url: String,
    /// What has come of a line that is not complete.
    rest: Vec<u8>,
    is_over: bool,
    /// What went wrong behind lines that came before it.
    broken: Option<ServiceError>,
}

/// A problem, as far as it explains anything.
#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
}

impl ServiceClient {
    /// Asks the service for everybody that the request means.
    pub(super) async fn begin(
        api: &Api,
        request: &RollRequest,
    ) -> Result<(Self, Topology), ServiceError> {
        let limit = request
            .deadline
            .map_or(TIMEOUT, |deadline| deadline.clamp(LEAST_TIMEOUT, TIMEOUT));
        let topology = api.topology(&request.scope, limit).await?;
        let (response, url) = api.report(request).await?;
        let server = Self {
            response,
            url,
            rest: Vec::new(),
            is_over: false,
            broken: None,
        };
        Ok((server, topology))
    }

    /// The next lines, each with its text; empty when all have come. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<(Line, String)>, ServiceError> {
        let mut lines = Vec::new();
        while lines.is_empty() && !self.is_over {
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let piece = self.response.chunk().await;
            let Some(piece) = piece.map_err(|error| ask(&self.url, &error))? else {
                return Err(self.answer("it ended before its summary"));
            };
            // What came before a line that is bad has come all the same.
            self.broken = self.read(&piece, &mut lines).err();
        }
        Ok(lines)
    }

    /// The lines that a piece completes.
    fn read(&mut self, piece: &[u8], lines: &mut Vec<(Line, String)>) -> Result<(), ServiceError> {
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            if self.rest.len() + part.len() > MAX_LINE_LEN {
                return Err(self.answer("a line is too long"));
            }
            self.rest.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                break;
            }
            let line = std::mem::take(&mut self.rest);
            let line = line.trim_ascii();
            // It says that it is still there.
            if line.is_empty() {
                continue;
            }
            let parsed = Line::parse(line).map_err(|what| self.answer(&what))?;
            if let Line::Problem(detail) = &parsed {
                let (url, why) = (self.url.clone(), plain(detail));
                return Err(ServiceError::Ask { url, why });
            }
            self.is_over = matches!(parsed, Line::End);
            lines.push((parsed, String::from_utf8_lossy(line).into_owned()));
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn too_many(&self) -> ServiceError {
        self.answer("it names more devices than a fleet may have")
    }

    fn answer(&self, what: &str) -> ServiceError {
        answer(&self.url, what)
    }
}

/// The service's paths.
pub(super) struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// Reads the token and whom to trust. Blocks.
    pub(super) fn new(server: &str, trust: &TrustFlags) -> Result<Self, ServiceError> {
        let url = address(server)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let client = trust.client(&url)?;
        Ok(Self { client, base })
    }

    async fn topology(&self, scope: &Scope, limit: Duration) -> Result<Topology, ServiceError> {
        let url = format!("{}/v1/supervision", self.base);
        let request = self.client.get(&url).timeout(limit);
        let response = self.send(request, &url).await?;
        let body = read(response, MAX_TREE_LEN, &url).await?;
        let json = String::from_utf8_lossy(&body);
        let tree = service::parse(&json).map_err(|what| answer(&url, &what))?;
        topology(&tree, scope).await
    }

    /// With a deadline the head of the answer is there soon after it; its lines come as they do.
    async fn report(&self, request: &RollRequest) -> Result<(Response, String), ServiceError> {
        let path = if request.force {
            "/v1/collect"
        } else {
            "/v1/report"
        };
        let base = format!("{}{path}", self.base);
        let parameters: Vec<_> = request.query().collect();
        let url = if parameters.is_empty() {
            Url::parse(&base)
        } else {
            Url::parse_with_params(&base, parameters)
        };
        let url = url.map_err(|_| ServerError::Address(plain(&base)))?;
        let method = if request.force {
            Method::POST
        } else {
            Method::GET
        };
        let mut builder = self.client.request(method, url).header(ACCEPT, NDJSON);
        if let Some(deadline) = request.deadline {
            builder = builder.timeout(deadline + GRACE);
        }
        let response = self.send(builder, &base);
        let response = match request.deadline {
            None => response.await?,
            Some(deadline) => tokio::time::timeout(deadline + LEAST_TIMEOUT, response)
                .await
                .map_err(|_| late(&base))??,
        };
        if !is_of(&response, NDJSON) {
            return Err(answer(&base, "this is no stream of lines"));
        }
        Ok((response, base))
    }

    /// The response, if it is a 200.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        url: &str,
    ) -> Result<Response, ServiceError> {
        let response = request.send().await.map_err(|error| ask(url, &error))?;
        let (url, status) = (url.to_owned(), response.status());
        if status == StatusCode::OK {
            return Ok(response);
        }
        if is_of(&response, "application/problem+json") {
            let body = read(response, MAX_PROBLEM_LEN, &url).await?;
            if let Ok(Problem { detail }) = serde_json::from_slice(&body) {
                let detail = plain(&detail);
                return Err(ServiceError::Refused {
                    url,
                    status,
                    detail,
                });
            }
        } else if status == StatusCode::NOT_FOUND {
            return Err(ServiceError::Old { url, status });
        }
        Err(answer(&url, &format!("its status is {status}")))
    }
}

fn is_of(response: &Response, expected: &str) -> bool {
    let found = response.headers().get(CONTENT_TYPE);
    let found = found.and_then(|value| value.to_str().ok());
    let found = found.and_then(|value| value.split(';').next());
    found.is_some_and(|found| found.trim().eq_ignore_ascii_case(expected))
}

async fn read(response: Response, limit: usize, url: &str) -> Result<Vec<u8>, ServiceError> {
    let body = server::read(response, limit).await;
    let body = body.map_err(|error| ask(url, &error))?;
    body.ok_or_else(|| answer(url, "it says too much"))
}

/// All devices of a service.
pub(in crate::cli) fn whole_topology(tree: &TreeView) -> Topology {
    let clusters = tree.clusters.iter().map(|cluster| {
        let nodes = cluster.nodes.iter().filter_map(|it| it.node_id.clone());
        let switches = cluster.switches.iter();
        let switches = switches.filter_map(|it| it.switch_id.clone());
        let id = cluster.cluster_id.clone();
        Cluster::new(id, nodes.collect(), switches.collect())
    });
    Topology::new(clusters.collect())
}

/// Those of a service's devices that are meant.
async fn topology(tree: &TreeView, scope: &Scope) -> Result<Topology, ServiceError> {
    let all = whole_topology(tree);
    if scope.is_whole() {
        return Ok(all);
    }
    scope.check_removals(&all).await?;
    Ok(scope.part(&all).await?)
}

fn late(url: &str) -> ServiceError {
    ServiceError::Ask {
        url: url.to_owned(),
        why: TOO_LONG.to_owned(),
    }
}

fn ask(url: &str, error: &reqwest::Error) -> ServiceError {
    ServiceError::Ask {
        url: url.to_owned(),
        why: why(error),
    }
}

fn answer(url: &str, what: &str) -> ServiceError {
    ServiceError::Answer {
        url: url.to_owned(),
        what: plain(what),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    fn within(deadline: Option<&str>) -> RollRequest {
        RollRequest {
            scope: Scope::default(),
            deadline: deadline.map(|it| humantime::parse_duration(it).unwrap()),
            force: false,
            clusters: String::new(),
            devices: String::new(),
            exclude: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_silent_is_waited_for_no_longer_than_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let api = Api::new(&server, &TrustFlags::default()).unwrap();
        for (deadline, first, second) in [
            (None, 30, None),
            (Some("10ms"), 1, Some("1s 10ms")),
            (Some("7s"), 7, Some("8s")),
            (Some("1m"), 30, Some("61s")),
        ] {
            let request = within(deadline);
            let start = Instant::now();
            let error = ServiceClient::begin(&api, &request).await.unwrap_err();
            assert!(error.to_string().ends_with("it takes too long"), "{error}");
            assert_eq!(start.elapsed().as_secs(), first, "{deadline:?}");
            let Some(second) = second else { continue };
            let start = Instant::now();
            let error = api.report(&request).await.unwrap_err();
            assert!(error.to_string().ends_with("it takes too long"), "{error}");
            let second = humantime::parse_duration(second).unwrap();
            // The clock has steps of a millisecond.
            let late = start.elapsed().abs_diff(second);
            assert!(late < Duration::from_millis(5), "{deadline:?}: {late:?}");
        }
    }
}
