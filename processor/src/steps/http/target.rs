//! Where an `http` step calls: a URL, or a template of one.

use everhook_journal::workflow::StepDefinition;
use reqwest::Url;

use crate::destination::{PrivateHosts, Refused};
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};
use crate::steps::{options, template};

/// What is told of a host that an expression gives: it may be a part of the body.
const COMPUTED_HOST: &str = "the host that `url` gives";

/// Where a step calls.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// Always here.
    Fixed(Url),
    /// Where this text leads, with the value of each expression encoded.
    Computed {
        /// The text.
        url: Expression,
        /// The host, if the text has it before its first expression.
        host: Option<String>,
    },
}

impl Target {
    /// Reads `url`, and checks it as far as it is known.
    pub(super) fn new(
        step: &StepDefinition,
        private_hosts: &PrivateHosts,
    ) -> Result<Self, DefinitionError> {
        let text = options::required_text(step, "url")?;
        let problem = |message: String| DefinitionError::at("url", message);
        let parse = |text: &str| -> Result<Url, DefinitionError> {
            let url: Url =
                text.parse().map_err(|error| problem(format!("`url` is not a URL: {error}")))?;
            private_hosts.check(&url).map_err(|refused| problem(refused.to_string()))?;
            Ok(url)
        };
        let Some(code) = template::url_code(text) else { return parse(text).map(Self::Fixed) };
        let before = text.split("\\(").next().unwrap_or_default();
        let Some((scheme, rest)) = before.split_once("://") else {
            return Err(problem("`url` begins with https://, before any `\\(…)`".into()));
        };
        let host = match rest.find(['/', '?', '#']) {
            Some(end) => {
                let url = parse(&format!("{scheme}://{}/", &rest[..end]))?;
                url.host_str().map(str::to_owned)
            }
            None => None,
        };
        Ok(Self::Computed { url: options::expression(step, "url", &code)?, host })
    }

    /// The URL of an attempt.
    pub(super) async fn url(&self, input: &Input) -> Result<Url, StepError> {
        let expression = match self {
            Self::Fixed(url) => return Ok(url.clone()),
            Self::Computed { url, .. } => url,
        };
        let invalid = |why: &str| StepError::fatal("invalid", format!("`url` {why}"));
        let given = expression.result(input.clone()).await?;
        let text: String =
            serde_json::from_str(given.get()).map_err(|_| invalid("gives no text"))?;
        if has_dots(&text) {
            return Err(invalid("gives a path with `.` or `..` in it, which leads elsewhere"));
        }
        text.parse().map_err(|error| invalid(&format!("gives no URL: {error}")))
    }

    /// The host, as far as it may be told.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Fixed(url) => url.host_str().unwrap_or_default(),
            Self::Computed { host, .. } => host.as_deref().unwrap_or(COMPUTED_HOST),
        }
    }

    /// Why it may not be called, without what an expression gave.
    pub(super) fn told(&self, refused: &Refused) -> String {
        match self {
            Self::Computed { host: None, .. } => refused.about(COMPUTED_HOST).to_string(),
            Self::Fixed(_) | Self::Computed { .. } => refused.to_string(),
        }
    }
}

/// Whether a part of the path is `.` or `..`, however it is written: such parts are taken out of a URL,
/// together with what stands before them.
fn has_dots(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_dots =
        |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split(['/', '\\']).skip(3).any(is_dots)
}
