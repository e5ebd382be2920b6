//! What a sender asks before it sends: answered for configured sources only.

mod signed;
mod unsigned;

use crate::answer::Answer;
use crate::outline::Outline;
use crate::signature::{Scheme, Sent};

/// The longest text of a stranger that is sent back, in bytes.
const ECHO_MAX: usize = 1024;

/// What a sender asks before it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Nothing.
    None,
    /// Whether anybody is there: `HEAD` or `GET`.
    Probe,
    /// Slack's `url_verification`: its challenge as text.
    Slack,
    /// Zoom's `endpoint.url_validation`: its token, signed.
    Zoom,
    /// Meta's `hub.challenge`, if `hub.verify_token` is ours.
    Meta,
    /// Dropbox's `challenge` as text.
    Dropbox,
    /// X's challenge-response check: its token, signed.
    X,
    /// Okta's challenge in a header, in JSON.
    Okta,
    /// Microsoft Graph's `validationToken` as text.
    MsGraph,
    /// Discord's ping.
    Discord,
    /// Twitch's challenge as text.
    Twitch,
    /// Asana's `X-Hook-Secret`, in the same header.
    Asana,
    /// monday.com's challenge in JSON.
    Monday,
    /// Xero's intent to receive: a good signature, an empty 200.
    Xero,
    /// Amazon SNS's confirmation: an address to fetch.
    Sns,
    /// Azure Event Grid's validation code in JSON.
    EventGrid,
    /// The permission to send that CloudEvents asks for with `OPTIONS`.
    CloudEvents,
}

/// An answer to a handshake.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What the sender is told.
    pub answer: Answer,
    /// The address of the sender's own that must be fetched first, without following redirects.
    pub fetch: Option<String>,
}

impl Handshake {
    /// Whether it comes before anything is signed.
    pub fn is_unsigned(self) -> bool {
        match self {
            Self::Probe
            | Self::Meta
            | Self::Dropbox
            | Self::X
            | Self::Okta
            | Self::MsGraph
            | Self::Asana
            | Self::CloudEvents => true,
            Self::None
            | Self::Slack
            | Self::Zoom
            | Self::Discord
            | Self::Twitch
            | Self::Monday
            | Self::Xero
            | Self::Sns
            | Self::EventGrid => false,
        }
    }

    /// What it is, for people.
    pub fn described(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Probe => "`HEAD` and `GET` are answered with an empty 200",
            Self::Slack => "`url_verification`: verified, then the challenge is sent back as text",
            Self::Zoom => "`endpoint.url_validation`: verified, then the token is sent back signed",
            Self::Meta => {
                "`GET` with `hub.challenge`: sent back as text if `hub.verify_token` is the configured one"
            }
            Self::Dropbox => "`GET` with `challenge`: sent back as text",
            Self::X => "`GET` with `crc_token`: sent back signed",
            Self::Okta => "`GET` with `x-okta-verification-challenge`: sent back in JSON",
            Self::MsGraph => "`POST` with `validationToken` in the query: sent back as text",
            Self::Discord => {
                "a ping: verified, then answered with `{\"type\":1}`, or 204 for events"
            }
            Self::Twitch => {
                "`webhook_callback_verification`: verified, then the challenge is sent back as text"
            }
            Self::Asana => "`POST` with `X-Hook-Secret`: sent back in the same header",
            Self::Monday => "`POST` with `challenge`: verified, then sent back in JSON",
            Self::Xero => {
                "intent to receive (no events): verified, then answered with an empty 200"
            }
            Self::Sns => {
                "`SubscriptionConfirmation`: verified, then the address in it is fetched, if it is the one of SNS in the topic's region"
            }
            Self::EventGrid => {
                "`SubscriptionValidation`: verified, then the code is sent back in JSON"
            }
            Self::CloudEvents => {
                "`OPTIONS` with `WebHook-Request-Origin`: allowed, 100 requests a minute"
            }
        }
    }

    /// The answer to a request that nobody signs; `None` if it is not such a handshake.
    pub fn before(self, scheme: &Scheme, sent: &Sent<'_>) -> Option<Answer> {
        match self {
            Self::Probe => unsigned::probe(sent),
            Self::Meta => unsigned::meta(scheme, sent),
            Self::Dropbox => unsigned::dropbox(sent),
            Self::X => unsigned::x(scheme, sent),
            Self::Okta => unsigned::okta(sent),
            Self::MsGraph => unsigned::msgraph(sent),
            Self::Asana => unsigned::asana(sent),
            Self::CloudEvents => unsigned::cloudevents(sent),
            Self::None
            | Self::Slack
            | Self::Zoom
            | Self::Discord
            | Self::Twitch
            | Self::Monday
            | Self::Xero
            | Self::Sns
            | Self::EventGrid => None,
        }
    }

    /// Where it looks in a verified body.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Slack => &["type", "challenge"],
            Self::Zoom => &["event", "payload.plainToken"],
            Self::Discord => &["type", "event.type"],
            Self::Twitch => &["challenge", "subscription.status"],
            Self::Monday => &["challenge"],
            Self::Sns => &["Type", "TopicArn", "SubscribeURL"],
            Self::Xero => &["events"],
            Self::EventGrid => &["0.data.validationCode"],
            Self::None
            | Self::Probe
            | Self::Meta
            | Self::Dropbox
            | Self::X
            | Self::Okta
            | Self::MsGraph
            | Self::Asana
            | Self::CloudEvents => &[],
        }
    }

    /// The answer to a request that was verified; `None` if it is a webhook.
    pub fn after(self, scheme: &Scheme, sent: &Sent<'_>, body: &Outline) -> Option<Reply> {
        let answer = match self {
            Self::Slack => signed::slack(body),
            Self::Zoom => signed::zoom(scheme, body),
            Self::Discord => signed::discord(body),
            Self::Twitch => signed::twitch(body),
            Self::Monday => signed::monday(body),
            Self::Xero => signed::xero(body),
            Self::EventGrid => signed::eventgrid(sent, body),
            Self::Sns => return signed::sns(sent, body),
            Self::None
            | Self::Probe
            | Self::Meta
            | Self::Dropbox
            | Self::X
            | Self::Okta
            | Self::MsGraph
            | Self::Asana
            | Self::CloudEvents => None,
        };
        answer.map(|answer| Reply { answer, fetch: None })
    }
}

/// A text of a stranger, if it is short enough to be sent back.
fn short(text: String) -> Option<String> {
    (!text.is_empty() && text.len() <= ECHO_MAX).then_some(text)
}

#[cfg(test)]
mod tests;
