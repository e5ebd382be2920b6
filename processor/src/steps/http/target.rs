//! Where an `http` step calls: a URL, or a template of one.

use everhook_journal::workflow::StepDefinition;
use reqwest::Url;

use crate::destination::{PrivateHosts, Refused};
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};
use crate::steps::template::Piece;
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
        /// Which parts of the path are nothing but values. The host is part 0.
        whole_parts: Vec<usize>,
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
        template::check("url", text)?;
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
        let parts = parts(text);
        if let Some(extended) = parts.first().and_then(|authority| extended_host(authority)) {
            return Err(problem(format!(
                "`url`: the value after `{extended}` would become part of the host's name; \
                 write `{extended}/` before it, or let one value give the whole host"
            )));
        }
        let whole_parts = whole_parts(&parts);
        Ok(Self::Computed { url: options::expression(step, "url", &code)?, host, whole_parts })
    }

    /// The URL of an attempt.
    pub(super) async fn url(&self, input: &Input) -> Result<Url, StepError> {
        let (expression, whole_parts) = match self {
            Self::Fixed(url) => return Ok(url.clone()),
            Self::Computed { url, whole_parts, .. } => (url, whole_parts),
        };
        let invalid = |why: &str| StepError::fatal("invalid", format!("`url` {why}"));
        let given = expression.result(input.clone()).await?;
        let text: String =
            serde_json::from_str(given.get()).map_err(|_| invalid("gives no text"))?;
        if has_dots(&text) {
            return Err(invalid("gives a path with `.` or `..` in it, which leads elsewhere"));
        }
        if has_empty(&text, whole_parts) {
            return Err(invalid("gives a path with an empty value in it, which leads elsewhere"));
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

/// The parts of a template's host and path, each as its pieces. The host is the first.
fn parts(template: &str) -> Vec<Vec<Piece<'_>>> {
    let mut parts = vec![Vec::new()];
    let after_scheme = template.split_once("://").map_or("", |(_, rest)| rest);
    for piece in template::pieces(after_scheme) {
        let Piece::Text(text) = piece else {
            parts.last_mut().expect("there is one").push(piece);
            continue;
        };
        let path = text.split(['?', '#']).next().unwrap_or_default();
        // A slash may be escaped, and to a URL a backslash is one.
        let texts = path.split("\\\\").flat_map(|text| text.split("\\/"));
        for (index, text) in texts.flat_map(|text| text.split('/')).enumerate() {
            if index > 0 {
                parts.push(Vec::new());
            }
            // A URL drops line breaks.
            if !text.trim().is_empty() {
                parts.last_mut().expect("there is one").push(Piece::Text(text));
            }
        }
        if path.len() < text.len() {
            break;
        }
    }
    parts
}

/// Which parts of the path are nothing but values.
fn whole_parts(parts: &[Vec<Piece<'_>>]) -> Vec<usize> {
    let is_value = |piece: &Piece<'_>| matches!(piece, Piece::Value(_));
    let parts = parts.iter().enumerate().skip(1);
    let whole = parts.filter(|(_, part)| !part.is_empty() && part.iter().all(is_value));
    whole.map(|(index, _)| index).collect()
}

/// The text of a host that goes on with a value, which may make any other host of it.
fn extended_host<'t>(authority: &[Piece<'t>]) -> Option<&'t str> {
    let mut before = "";
    let mut is_extended = false;
    for piece in authority {
        match piece {
            Piece::Value(_) => is_extended = !before.is_empty(),
            Piece::Text(text) => {
                let host = text.rsplit('@').next().unwrap_or_default();
                if host.starts_with(':') {
                    break;
                }
                if host.contains(':') {
                    // What follows is the port, or an address of IPv6.
                    return None;
                }
                is_extended = false;
                before = if host.ends_with('.') { "" } else { host };
            }
        }
    }
    is_extended.then_some(before)
}

/// Whether one of these parts of host and path is empty.
fn has_empty(url: &str, whole_parts: &[usize]) -> bool {
    let path = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split(['/', '\\']).enumerate();
    parts.any(|(index, part)| whole_parts.contains(&index) && part.trim().is_empty())
}

/// Whether a part of the path is `.` or `..`, however it is written: such parts are taken out of a URL,
/// together with what stands before them.
fn has_dots(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_dots =
        |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split(['/', '\\']).skip(3).any(is_dots)
}
