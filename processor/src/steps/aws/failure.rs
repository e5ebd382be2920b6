//! What a call to AWS failed with, as a step's failure.
//!
//! | kind | what happened | tried again |
//! |---|---|---|
//! | `timeout` | no answer in time | yes |
//! | `connect` | no connection, or one that broke off | yes |
//! | `aws_throttled` | too much was asked for | yes |
//! | `aws_unavailable` | a 5xx, or an answer that cannot be read | yes |
//! | `aws_credentials` | there are none, or they have expired | yes |
//! | `aws_denied` | the role may not | no |
//! | `aws_missing` | there is no such queue, topic, bus, function or bucket | no |
//! | `aws_refused` | what was asked for is wrong | no |

use std::error::Error;

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use everhook_journal::Timestamp;

use crate::step::StepError;
use crate::steps::retry_after;

/// How much of somebody's words is told.
const WORDS_CHARS_MAX: usize = 200;

/// The longest code that is told.
const CODE_CHARS_MAX: usize = 64;

/// The failure of a call to this service.
pub(in crate::steps) fn of<E>(
    service: &str,
    error: &SdkError<E, HttpResponse>,
    now: Timestamp,
) -> StepError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = match error {
        SdkError::TimeoutError(_) => timeout(service),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timeout(service),
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            StepError::retryable("connect", format!("cannot reach {service}: {}", cause(error)))
        }
        // Whoever signs has found nothing to sign with.
        SdkError::DispatchFailure(_) => {
            let message = format!("no credentials for {service}: {}", cause(error));
            StepError::retryable("aws_credentials", message)
        }
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            answered(service, status, code, answer.err().message())
        }
        SdkError::ResponseError(_) => {
            let message = format!("{service} answered what cannot be read");
            StepError::retryable("aws_unavailable", message)
        }
        _ => StepError::fatal("aws_refused", format!("no call to {service} can be made of this")),
    };
    let asked = error.raw_response().and_then(|answer| answer.headers().get("retry-after"));
    match asked.and_then(|text| retry_after::read(text, now)) {
        Some(wait) if failure.retryable => failure.with_retry_after(wait),
        _ => failure,
    }
}

/// The failure that an answer with this status and this code tells.
pub(in crate::steps) fn answered(
    service: &str,
    status: u16,
    code: &str,
    words: Option<&str>,
) -> StepError {
    let code = word(code);
    let has = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
    let named = if code.is_empty() { format!("HTTP {status}") } else { code.clone() };
    let plain = format!("{service} answered {named}");
    // Only these words are AWS's own: others may quote what was sent.
    let explained = match words {
        Some(words) => format!("{plain}: {}", shortened(words)),
        None => plain.clone(),
    };
    if has(&["Throttl", "TooManyRequests", "SlowDown", "OverLimit", "RequestLimitExceeded"])
        || status == 429
    {
        StepError::retryable("aws_throttled", plain)
    } else if has(&["ExpiredToken", "RequestExpired", "RequestTimeTooSkewed"]) {
        StepError::retryable("aws_credentials", plain)
    } else if status >= 500 || status == 409 || has(&["Internal", "Unavailable", "Timeout"]) {
        StepError::retryable("aws_unavailable", plain)
    } else if has(&["NonExistent", "DoesNotExist", "NotFound", "NoSuch"]) || status == 404 {
        StepError::fatal("aws_missing", explained)
    } else if has(&["AccessDenied", "NotAuthorized", "AuthorizationError"])
        || matches!(status, 401 | 403)
    {
        StepError::fatal("aws_denied", explained)
    } else {
        StepError::fatal("aws_refused", plain)
    }
}

/// A code as it may be told: letters and digits.
pub(in crate::steps) fn word(code: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c);
    code.chars().filter(plain).take(CODE_CHARS_MAX).collect()
}

/// The innermost cause: the others only say that there is one.
pub(in crate::steps) fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| (*error).source()).last();
    shortened(&innermost.unwrap_or(error).to_string())
}

pub(in crate::steps) fn timeout(service: &str) -> StepError {
    StepError::retryable("timeout", format!("{service} did not answer in time"))
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn judged(status: u16, code: &str) -> (String, bool) {
        let failure = answered("SQS", status, code, Some("canary"));
        assert_eq!(
            failure.message.contains("canary"),
            matches!(failure.kind.as_str(), "aws_denied" | "aws_missing"),
            "{failure}"
        );
        (failure.kind, failure.retryable)
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (status, code, kind) in [
            (429, "TooManyRequestsException", "aws_throttled"),
            (400, "ThrottlingException", "aws_throttled"),
            (400, "RequestThrottled", "aws_throttled"),
            (403, "KMSThrottlingException", "aws_throttled"),
            (503, "SlowDown", "aws_throttled"),
            (500, "InternalFailure", "aws_unavailable"),
            (502, "", "aws_unavailable"),
            (409, "ResourceConflictException", "aws_unavailable"),
            (400, "InternalException", "aws_unavailable"),
            (403, "ExpiredTokenException", "aws_credentials"),
        ] {
            assert_eq!(judged(status, code), (kind.into(), true), "{status} {code}");
        }
        for (status, code, kind) in [
            (400, "AWS.SimpleQueueService.NonExistentQueue", "aws_missing"),
            (400, "QueueDoesNotExist", "aws_missing"),
            (404, "ResourceNotFoundException", "aws_missing"),
            (404, "NotFound", "aws_missing"),
            (400, "AccessDeniedException", "aws_denied"),
            (403, "AuthorizationError", "aws_denied"),
            (403, "InvalidClientTokenId", "aws_denied"),
            (400, "ValidationException", "aws_refused"),
            (413, "RequestTooLargeException", "aws_refused"),
            (400, "", "aws_refused"),
        ] {
            assert_eq!(judged(status, code), (kind.into(), false), "{status} {code}");
        }
    }

    #[test]
    fn a_code_is_told_as_a_word() {
        let failure = answered("SNS", 400, "a b\n{\"c\"}", None);
        assert_eq!(failure.message, "SNS answered abc");
        assert_eq!(answered("SNS", 503, "", None).message, "SNS answered HTTP 503");
        assert_eq!(word(&"x".repeat(500)).len(), CODE_CHARS_MAX);
    }
}
