//! Requests to a running service, and what it answers.

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::server::{ServerError, ServerFlags, TIMEOUT, block_on, read, why};
use super::terminal::{plain, plain_json};
use crate::server::tree::TreeView;

/// More than the tree of a million devices takes.
const MAX_BODY_LEN: usize = 1 << 30;

/// More than why a request is refused takes.
const MAX_PROBLEM_LEN: usize = 1 << 20;

/// Why there is no tree to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error("cannot ask {url}: {why}")]
    Ask { url: String, why: String },
    #[error("{url} does not answer as a fleetcall service does: {}", plain(.what))]
    Answer { url: String, what: String },
    #[error("{url} answers {status}: {detail}")]
    Refused {
        url: String,
        status: StatusCode,
        detail: String,
    },
}

/// What a service says when it refuses a request.
#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
}

/// JSON as a service gave it, with nothing in it that a terminal obeys.
///
/// # Errors
/// If it is none.
pub(super) fn checked_json(url: &str, json: &str) -> Result<String, TreeError> {
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(json);
    parsed.map_err(|error| TreeError::Answer {
        url: url.to_owned(),
        what: error.to_string(),
    })?;
    Ok(plain_json(json))
}

/// What a service answers at this path, and where that is. Blocks.
pub(super) fn ask(server: &ServerFlags, path: &str) -> Result<(String, String), TreeError> {
    let client = server.client()?;
    let url = format!("{}{path}", server.base());
    let json = block_on(get(&client, &url))??;
    Ok((url, json))
}

/// What a service answers at this address.
pub(super) async fn get(client: &Client, url: &str) -> Result<String, TreeError> {
    let response = client.get(url).timeout(TIMEOUT).send().await;
    body(url, response).await
}

/// What a service answers, if it does not refuse the request.
pub(super) async fn body(
    url: &str,
    response: Result<Response, reqwest::Error>,
) -> Result<String, TreeError> {
    let url = url.to_owned();
    let asked = |error: reqwest::Error| TreeError::Ask {
        url: url.clone(),
        why: why(&error),
    };
    let response = response.map_err(asked)?;
    let status = response.status();
    if status == StatusCode::OK {
        let body = read(response, MAX_BODY_LEN).await.map_err(asked)?;
        let body = body.ok_or("it says too much");
        let text = body.and_then(|it| String::from_utf8(it).map_err(|_| "it is no text"));
        return text.map_err(|what| TreeError::Answer {
            url: url.clone(),
            what: what.to_owned(),
        });
    }
    let body = read(response, MAX_PROBLEM_LEN).await.ok().flatten();
    let problem = body.and_then(|it| serde_json::from_slice(&it).ok());
    Err(match problem {
        Some(Problem { detail }) => TreeError::Refused {
            url,
            status,
            detail: plain(&detail),
        },
        None => TreeError::Answer {
            url,
            what: format!("its status is {status}"),
        },
    })
}

pub(super) fn parse(json: &str) -> Result<TreeView, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::server::TrustFlags;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_silent_is_waited_for_half_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = TrustFlags::default().client(&url.parse().unwrap()).unwrap();
        let start = tokio::time::Instant::now();
        let error = get(&client, &url).await.unwrap_err().to_string();
        assert_eq!(error, format!("cannot ask {url}: it takes too long"));
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
