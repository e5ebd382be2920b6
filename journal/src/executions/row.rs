//! How a view and what is owed become an item of the executions table, and back.

use aws_sdk_dynamodb::types::AttributeValue;

use crate::chain::Digest;
use crate::id::{
    DeliveryId, ExecutionId, Sequence, SourceName, StepName, WorkflowHash, WorkflowName,
};
use crate::item::{
    MalformedItem, malformed, number, read_number, read_optional, read_text, read_time, text,
};
use crate::store::Item;
use crate::time::Timestamp;
use crate::view::{View, ViewStatus};

use super::{Due, Row, due_shard, execution_of};

pub(super) fn with_due(mut item: Item, due_at: Timestamp, generation: u64) -> Item {
    let shard = execution_of(&item).map_or(0, |id| due_shard(&id));
    item.insert("due_at".into(), text(due_at.to_string()));
    item.insert("due_shard".into(), number(shard));
    item.insert("generation".into(), number(generation));
    item
}

fn json(value: &impl serde::Serialize) -> AttributeValue {
    text(serde_json::to_string(value).expect("a view is JSON"))
}

/// The JSON of an attribute that may be missing.
fn read_json<T: serde::de::DeserializeOwned>(
    item: &Item,
    attribute: &'static str,
) -> Result<Option<T>, MalformedItem> {
    let json = read_optional(item, attribute);
    json.map(|json| serde_json::from_str(&json).map_err(|_| malformed(attribute, "not JSON")))
        .transpose()
}

pub(super) fn to_item(view: &View) -> Item {
    let mut item = Item::from([
        ("execution".into(), text(view.execution.as_str())),
        ("status".into(), text(view.status.as_str())),
        ("source".into(), text(view.source.as_str())),
        ("delivery_id".into(), text(view.delivery_id.as_str())),
        ("workflow".into(), text(view.workflow.as_str())),
        ("created_at".into(), text(view.created_at.to_string())),
        ("updated_at".into(), text(view.updated_at.to_string())),
        ("keys".into(), json(&view.keys)),
        ("key_count".into(), number(view.key_count)),
        ("steps".into(), json(&view.steps)),
        ("sequence".into(), number(view.sequence)),
        ("ttl".into(), number(view.expires_at.to_ttl_seconds())),
    ]);
    let mut optional = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.into(), value);
        }
    };
    optional("current_step", view.current_step.as_ref().map(|step| text(step.as_str())));
    optional("workflow_hash", view.workflow_hash.as_ref().map(|hash| text(hash.as_str())));
    optional("head", view.head.as_ref().map(|digest| text(digest.to_string())));
    optional("event_type", view.event_type.clone().map(text));
    optional("error", view.error.as_ref().map(json));
    optional("filtered", view.filtered.as_ref().map(json));
    let failed = view.status == ViewStatus::Failed;
    optional("attention", failed.then(|| text(view.status.as_str())));
    item
}

pub(super) fn to_row(item: &Item) -> Result<Row, MalformedItem> {
    let parked = read_optional(item, "parked");
    let due = match item.get("due_at") {
        Some(_) => Some(Due {
            at: read_time(item, "due_at")?,
            generation: read_number(item, "generation")?,
            redrives: read_number(item, "redrives").unwrap_or(0),
        }),
        None => None,
    };
    let status = ViewStatus::parse(read_text(item, "status")?)
        .ok_or_else(|| malformed("status", "not a status"))?;
    let view = View {
        execution: execution_of(item).ok_or_else(|| malformed("execution", "not an id"))?,
        status: if parked.is_some() { ViewStatus::Stalled } else { status },
        current_step: read_optional(item, "current_step").map(StepName::new),
        source: SourceName::new(read_text(item, "source")?),
        delivery_id: DeliveryId::new(read_text(item, "delivery_id")?),
        event_type: read_optional(item, "event_type"),
        workflow: WorkflowName::new(read_text(item, "workflow")?),
        workflow_hash: read_optional(item, "workflow_hash").map(WorkflowHash::new),
        created_at: read_time(item, "created_at")?,
        updated_at: read_time(item, "updated_at")?,
        error: read_json(item, "error")?,
        filtered: read_json(item, "filtered")?,
        keys: serde_json::from_str(read_text(item, "keys")?)
            .map_err(|_| malformed("keys", "not JSON"))?,
        key_count: read_number(item, "key_count")?,
        steps: serde_json::from_str(read_text(item, "steps")?)
            .map_err(|_| malformed("steps", "not JSON"))?,
        sequence: Sequence::new(read_number(item, "sequence")?),
        // One that cannot be read is as good as none: it only serves to compare.
        head: read_optional(item, "head").as_deref().and_then(Digest::parse),
        expires_at: Timestamp::from_millis(
            i64::try_from(read_number(item, "ttl")?)
                .unwrap_or(i64::MAX / 1000)
                .saturating_mul(1000),
        ),
    };
    let repeat_of = read_optional(item, "repeat_of");
    let repeat_of = repeat_of.as_deref().and_then(ExecutionId::parse);
    let deaths = read_number(item, "deaths").unwrap_or(0);
    Ok(Row { view, due, parked, deaths, repeat_of })
}
