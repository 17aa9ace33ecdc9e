//! What the drivers that speak HTTP share: the URL of their settings, for the device that is called.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::call::Call;
use crate::domain::{LocalReason, LookupError};
use crate::net::web::{Web, WebAnswer, WebRequest};

impl Web {
    /// The URL of the settings, for the device of this call.
    pub(super) fn url(&self, call: Call<'_>) -> Result<Url, LookupError> {
        let text = call.expand(&self.settings.url);
        Url::parse(&text).map_err(|error| {
            LookupError::Local(LocalReason::Setup, format!("the URL is none: {error}"))
        })
    }

    /// Asks for the URL of the settings; the answer may have any status but 401 and 403.
    pub(super) async fn ask(
        &self,
        call: Call<'_>,
        headers: &[(HeaderName, &'static str)],
    ) -> Result<WebAnswer, LookupError> {
        let header = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        let headers: Vec<_> = headers.iter().map(header).collect();
        let request = WebRequest {
            method: Method::GET,
            url: self.url(call)?,
            headers: &headers,
            body: Vec::new(),
            deadline: call.deadline,
        };
        self.send(request).await
    }
}
