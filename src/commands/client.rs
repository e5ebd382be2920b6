//! Questions to a running server.

use std::time::Duration;

use everhook_journal::environment;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::Failure;

/// How long a question may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to a running server.
pub(crate) struct Client {
    server: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at this URL.
    pub(crate) fn new(server: &str) -> Result<Self, Failure> {
        environment::prepare_tls();
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { server, http: http.map_err(Failure::of)? })
    }

    /// A `GET` of this path, with this query.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.server)).map_err(|error| {
            Failure(format!("{} is not the URL of a server: {error}", self.server))
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let text = self.text(self.http.get(url)).await?;
        serde_json::from_str(&text).map_err(|error| self.not_everhook(&error))
    }

    /// The same, or `None` where there is nothing.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        let url = format!("{}{path}", self.server);
        let response = self.answer(self.http.get(url)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let text = self.text_of(response).await?;
        serde_json::from_str(&text).map(Some).map_err(|error| self.not_everhook(&error))
    }

    /// A `POST` of this body with these headers.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<serde_json::Value, Failure> {
        let request = self.http.post(format!("{}{path}", self.server)).body(body);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let text = self.text(request).await?;
        serde_json::from_str(&text).map_err(|error| self.not_everhook(&error))
    }

    /// The status with which a `POST` of this body with these headers is answered.
    pub(crate) async fn status_of(
        &self,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<u16, Failure> {
        let request = self.http.post(format!("{}{path}", self.server)).body(body);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Ok(self.answer(request).await?.status().as_u16())
    }

    async fn text(&self, request: RequestBuilder) -> Result<String, Failure> {
        self.text_of(self.answer(request).await?).await
    }

    async fn text_of(&self, response: Response) -> Result<String, Failure> {
        let server = &self.server;
        let status = response.status();
        let text = response.text().await.map_err(Failure::of)?;
        if status.is_success() {
            return Ok(text);
        }
        let said: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let error =
            said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or("no reason given");
        let code = StatusCode::as_u16(&status);
        Err(Failure(format!("{server} says {code}: {error}")))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let server = &self.server;
        request.send().await.map_err(|error| {
            if error.is_connect() {
                Failure(format!("nothing answers at {server}; start it with `everhook serve`, or name another with --server"))
            } else {
                Failure::of(error)
            }
        })
    }

    fn not_everhook(&self, error: &serde_json::Error) -> Failure {
        Failure(format!("{} does not answer as everhook does: {error}", self.server))
    }
}
