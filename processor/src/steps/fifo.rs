//! What a queue or topic asks for that keeps an order.

use everhook_journal::workflow::StepDefinition;

use super::template::Template;
use crate::step::{DefinitionError, Input, StepError};

/// The keys with which a definition says it.
pub(super) const KEYS: [&str; 2] = ["group", "deduplication"];

/// How a message takes its place in the order.
#[derive(Debug, Clone)]
pub(super) struct Fifo {
    group: Template,
    deduplication: Option<Template>,
}

/// The place of one message.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    /// Within which messages keep their order.
    pub(super) group: String,
    /// Of messages with one of these, the first counts.
    pub(super) deduplication: String,
}

impl Fifo {
    /// Reads `group` and `deduplication`, for what is named like this.
    pub(super) fn new(step: &StepDefinition, name: &str) -> Result<Option<Self>, DefinitionError> {
        let (group, deduplication) =
            (Template::new(step, "group")?, Template::new(step, "deduplication")?);
        match (name.ends_with(".fifo"), group) {
            (true, Some(group)) => Ok(Some(Self { group, deduplication })),
            (true, None) => {
                let message = "`group` is missing: what ends in .fifo keeps an order within groups";
                Err(DefinitionError::at("group", message))
            }
            (false, None) if deduplication.is_none() => Ok(None),
            (false, group) => {
                let key = if group.is_some() { "group" } else { "deduplication" };
                let message = format!("`{key}` is for names that end in .fifo; take it away");
                Err(DefinitionError::at(key, message))
            }
        }
    }

    /// The place of this attempt's message: the same for all attempts, if nothing else is said.
    pub(super) async fn place(&self, input: &Input) -> Result<Place, StepError> {
        let group = self.group.text(input).await?;
        let deduplication = match &self.deduplication {
            Some(template) => template.text(input).await?,
            None => input.idempotency_key(),
        };
        Ok(Place { group, deduplication })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{definition, input};
    use super::*;

    fn read(name: &str, options: Value) -> Result<Option<Fifo>, DefinitionError> {
        Fifo::new(&definition("sqs", options), name)
    }

    #[tokio::test]
    async fn the_idempotency_key_tells_messages_apart_if_nothing_else_does() {
        let fifo = read("a.fifo", json!({"group": r"order-\(.id)"})).unwrap().unwrap();
        let place = fifo.place(&input(r#"{"id": 7}"#)).await.unwrap();
        let key = input("").idempotency_key();
        assert_eq!(place, Place { group: "order-7".into(), deduplication: key });

        let fifo = read("a.fifo", json!({"group": "all", "deduplication": r"\(.id)"}));
        let place = fifo.unwrap().unwrap().place(&input(r#"{"id": 7}"#)).await.unwrap();
        assert_eq!(place, Place { group: "all".into(), deduplication: "7".into() });
    }

    #[test]
    fn an_order_is_asked_for_exactly_where_there_is_one() {
        let key = |name, options| read(name, options).unwrap_err().option.unwrap();
        assert_eq!(key("a.fifo", json!({})), "group");
        assert_eq!(key("a", json!({"group": "g"})), "group");
        assert_eq!(key("a", json!({"deduplication": "d"})), "deduplication");
        assert!(read("a", json!({})).unwrap().is_none());
    }
}
