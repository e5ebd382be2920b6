//! What a step sent, for people.

use everhook_journal::event::{OutgoingBody, OutgoingRequest};

/// How many characters of a body are shown; `--json` shows all that is recorded.
const BODY_CHARS_MAX: usize = 200;

/// The request, line by line.
pub(super) fn lines(request: &OutgoingRequest) -> Vec<String> {
    let mut lines = vec![format!("sent {} {}", request.method, request.url)];
    lines.extend(request.headers.iter().map(|(name, value)| {
        format!("  {name}: {}", value.as_deref().unwrap_or("(value not recorded)"))
    }));
    if request.more_headers > 0 {
        lines.push(format!("  ({} more headers not recorded)", request.more_headers));
    }
    lines.extend(request.body.as_ref().map(|body| format!("  body: {}", shown(body))));
    lines
}

fn shown(body: &OutgoingBody) -> String {
    match body {
        OutgoingBody::Webhook => "the webhook's, see event 1".to_owned(),
        OutgoingBody::Result(step) => format!("the result of step {step}"),
        OutgoingBody::Text(text) => match text.char_indices().nth(BODY_CHARS_MAX) {
            Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
            None => text.clone(),
        },
        OutgoingBody::Omitted { sha256, bytes } => {
            format!("{bytes} bytes, not recorded, SHA-256 {sha256}")
        }
    }
}
