//! What AWS could hand over and nobody expects: to each function, what it can survive.

use serde_json::{Value, json};

use crate::checks::Checks;
use crate::deployment::Deployment;
use crate::e2e::small;
use crate::events::record;

/// A batch of 25 with one broken record, records of other shapes, and no records at all.
pub(crate) async fn spoil_nothing(aws: &Deployment, checks: &mut Checks) {
    let token = aws.deliver(&small("github", "beside-the-broken")).await.token();
    let mut records: Vec<_> = (1..=25).map(|number| record(&token, number)).collect();
    records[12] = json!({ "eventName": "INSERT", "dynamodb": "broken" });
    records[13]["dynamodb"]["Keys"] = Value::Null;
    records[14]["surprise"] = json!({ "of": ["a", "later", "version"] });
    records[15]["userIdentity"] =
        json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
    records[15]["eventName"] = json!("REMOVE");
    records[16]["dynamodb"]["SequenceNumber"] = Value::Null;
    for (name, event) in [
        ("a batch of 25 with broken records", json!({ "Records": records })),
        ("no records", json!({ "Records": [] })),
        ("an event without records", json!({})),
        ("records that are none", json!({ "Records": [null, 1, "two", []] })),
    ] {
        for (who, function) in [("processor", &aws.processor), ("projector", &aws.projector)] {
            let answered = function.invoke(event.clone()).await;
            let payload = answered.map(|answered| answered.payload);
            let whole = payload == Ok(json!({ "batchItemFailures": [] }));
            checks.that(&format!("the {who} survives {name}"), whole, format!("{payload:?}"));
        }
    }
    for (who, function) in [("ingest", &aws.ingest), ("status", &aws.status)] {
        for event in [json!({}), json!(null), json!({ "headers": 17, "body": [] })] {
            let told = format!("{who} refuses {event} and does not fail");
            let answered = function.invoke(event).await;
            let status = answered.map(|answered| answered.payload["statusCode"].clone());
            let refused = status.as_ref().is_ok_and(|status| *status == 400 || *status == 404);
            checks.that(&told, refused, format!("{status:?}"));
        }
    }
}
