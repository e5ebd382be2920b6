//! Messages that arrive when a timer is due: the sweep looks only once a minute.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use everhook_journal::{Clock, Timers, environment};

/// The longest delay of a message.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// Timers that send a message for each one that is due within a message's longest delay, if `EVERHOOK_TIMERS_QUEUE` names
/// a queue. A message that is lost is replaced by the sweep's.
pub(crate) fn telling(timers: Timers) -> Timers {
    let queue = std::env::var("EVERHOOK_TIMERS_QUEUE").ok().filter(|url| !url.is_empty());
    let Some(queue) = queue else { return timers };
    let client = Client::new(&environment::aws());
    timers.telling(move |timer, terms| {
        let (client, queue, timer) = (client.clone(), queue.clone(), timer.clone());
        Box::pin(async move {
            let delay = timer.due.since(Clock::System.now());
            // What may have killed a process is driven alone, and left to the sweep.
            if delay > DELAY_MAX || terms.is_suspect {
                return;
            }
            let request = client
                .send_message()
                .queue_url(&queue)
                .message_body(timer.to_string())
                .delay_seconds(everhook_processor::sweep::delay_seconds(delay));
            if let Err(error) = Box::pin(request.send()).await {
                let reason = DisplayErrorContext(&error).to_string();
                tracing::warn!(reason, "no message was sent for a timer: {reason}");
            }
        })
    })
}
