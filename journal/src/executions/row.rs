//! How a view becomes an item of the executions table, and back.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::chain::Digest;
use crate::id::{
    DeliveryId, ExecutionId, Sequence, Shards, SourceName, StepName, WorkflowHash, WorkflowName,
};
use crate::item::{
    MalformedItem, malformed, number, read_number, read_optional, read_text, read_time, text,
};
use crate::packed;
use crate::store::Item;
use crate::time::Timestamp;
use crate::view::{View, ViewStatus};

use super::{Row, attention, execution_of};

/// The JSON of an attribute that may be missing.
fn read_json<T: serde::de::DeserializeOwned>(
    item: &Item,
    attribute: &'static str,
) -> Result<Option<T>, MalformedItem> {
    let json = read_optional(item, attribute);
    json.map(|json| serde_json::from_str(&json).map_err(|_| malformed(attribute, "not JSON")))
        .transpose()
}

pub(super) fn to_item(view: &View, shards: Shards) -> Item {
    let json = serde_json::to_string(view).expect("a view is JSON");
    let mut item = Item::from([
        ("execution".into(), text(view.execution.as_str())),
        ("sequence".into(), number(view.sequence)),
        ("view".into(), AttributeValue::B(Blob::new(packed::pack(json.as_bytes())))),
        ("created_at".into(), text(view.created_at.to_string())),
        ("ttl".into(), number(view.expires_at.to_ttl_seconds())),
    ]);
    if view.status.is_terminal() {
        item.insert("ended".into(), AttributeValue::Bool(true));
    }
    if view.status == ViewStatus::Failed {
        let partition = attention(view.status, &view.execution, shards);
        item.insert("attention".into(), text(partition));
    }
    item
}

pub(super) fn to_row(item: &Item) -> Result<Row, MalformedItem> {
    let execution = execution_of(item).ok_or_else(|| malformed("execution", "not an id"))?;
    let view = match item.get("view") {
        Some(AttributeValue::B(bytes)) => {
            let json = packed::unpack(bytes.as_ref())
                .map_err(|error| malformed("view", error.to_string()))?;
            // The position says where to look; the text around it stays out of logs.
            let view = serde_json::from_slice(&json);
            Some(view.map_err(|e| malformed("view", format!("not a view, at {}", e.column())))?)
        }
        Some(_) => return Err(malformed("view", "not binary")),
        None if item.contains_key("status") => Some(to_earlier_view(item)?),
        None => None,
    };
    let stalled = read_optional(item, "stalled").or_else(|| read_optional(item, "parked"));
    let repeat_of = read_optional(item, "repeat_of");
    let repeat_of = repeat_of.as_deref().and_then(ExecutionId::parse);
    let alone = item.get("alone").and_then(|names| names.as_ss().ok());
    let deaths = read_number(item, "deaths").unwrap_or(0)
        + alone.map_or(0, |names| u64::try_from(names.len()).unwrap_or(u64::MAX));
    Ok(Row { execution, view, stalled, deaths, repeat_of })
}

/// The view of a row that a version before 0.2 wrote.
fn to_earlier_view(item: &Item) -> Result<View, MalformedItem> {
    let status = ViewStatus::parse(read_text(item, "status")?)
        .ok_or_else(|| malformed("status", "not a status"))?;
    Ok(View {
        execution: execution_of(item).ok_or_else(|| malformed("execution", "not an id"))?,
        status,
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
        expires_at: Timestamp::from_ttl_seconds(read_number(item, "ttl")?),
    })
}
