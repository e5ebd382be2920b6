//! A step of one's own: charges the card of a paid order, once.
//!
//! ```sh
//! cargo run --example own_step -- serve --config examples/own-step.toml --data-dir .everhook/own-step
//! printf '{"order": "A-1001", "cents": 4250, "card": "card_7"}' > order.json
//! cargo run --example own_step -- send --config examples/own-step.toml --data-dir .everhook/own-step order.json
//! cargo run --example own_step -- replay TOKEN
//! ```

use std::process::ExitCode;

use clap::Parser;
use everhook::{Cli, Input, Outgoing, StepError, Steps};
use serde::{Deserialize, Serialize};

/// What the body of an order looks like. Other keys are no error.
#[derive(Deserialize)]
struct Order {
    order: String,
    cents: u64,
    card: String,
}

/// What is recorded, and what later steps see as `$steps.charge`.
#[derive(Debug, PartialEq, Serialize)]
struct Charged {
    order: String,
    cents: u64,
    receipt: String,
}

/// The step. Its arguments are in the webhook, its outcome is in the journal: it keeps nothing itself.
async fn charge(input: Input) -> Result<Charged, StepError> {
    // A body of another shape fails for good: trying again would not change it.
    let Order { order, cents, card } = input.json()?;
    let cents_max = input.options.get("cents_max").and_then(|max| max.as_u64());
    if let Some(most) = cents_max.filter(|most| cents > *most) {
        return Err(StepError::fatal("refused", format!("{cents} cents are more than {most}")));
    }

    // The history then says what was sent, also if no answer comes; without the card.
    input.record_request(Outgoing::new("CHARGE", "payments").body(format!("{cents} for {order}")));

    // The step may run again after a crash. The key is the same then, so the card is not charged twice.
    let receipt = pay(&card, cents, &input.idempotency_key()).await?;
    Ok(Charged { order, cents, receipt })
}

/// Stands for the payment service. A real one remembers the key and answers a second call with the first result.
async fn pay(card: &str, cents: u64, idempotency_key: &str) -> Result<String, StepError> {
    if card.is_empty() {
        return Err(StepError::fatal("declined", "there is no card"));
    }
    if cents == 0 {
        // Tried again, as the step's `retry` says.
        return Err(StepError::retryable("unavailable", "the payment service is busy"));
    }
    Ok(format!("receipt for {idempotency_key}"))
}

fn main() -> ExitCode {
    everhook::main(Cli::parse(), Steps::new().with("charge", charge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(cents: u64) -> Input {
        let body = format!(r#"{{"order": "A-1", "cents": {cents}, "card": "card_7"}}"#);
        Input::sample(body).named("charge").with_option("cents_max", 1_000)
    }

    #[tokio::test]
    async fn a_card_is_charged_under_one_key_in_every_attempt() {
        let first = charge(order(999)).await;
        let second = charge(order(999).in_attempt(2)).await;

        assert_eq!(first, second);
        assert!(first.is_ok_and(|charged| charged.receipt.ends_with(":charge")));
    }

    #[tokio::test]
    async fn too_much_is_refused_for_good_and_a_busy_service_is_asked_again() {
        let retryable = async |cents| charge(order(cents)).await.err().map(|error| error.retryable);

        assert_eq!(retryable(1_001).await, Some(false));
        assert_eq!(retryable(0).await, Some(true));
    }
}
