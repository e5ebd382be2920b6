//! The tables as DynamoDB needs them, for where no template makes them: one machine and tests.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::failpoint;
use crate::store::Unavailable;

/// The names of the two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The journal's.
    pub journal: String,
    /// The executions'.
    pub executions: String,
}

impl Default for Tables {
    fn default() -> Self {
        Self { journal: "journal".into(), executions: "executions".into() }
    }
}

impl Tables {
    /// The names from `EVERHOOK_JOURNAL_TABLE` and `EVERHOOK_EXECUTIONS_TABLE`, or the usual ones.
    pub fn from_env() -> Self {
        let Self { journal, executions } = Self::default();
        let named = |variable, usual| std::env::var(variable).unwrap_or(usual);
        Self {
            journal: named("EVERHOOK_JOURNAL_TABLE", journal),
            executions: named("EVERHOOK_EXECUTIONS_TABLE", executions),
        }
    }

    /// Makes the tables that do not exist yet.
    pub async fn create(&self, client: &Client) -> Result<(), Unavailable> {
        let journal = client
            .create_table()
            .table_name(&self.journal)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("sequence", ScalarAttributeType::N))
            .key_schema(key("execution", KeyType::Hash))
            .key_schema(key("sequence", KeyType::Range))
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::KeysOnly)
                    .build()
                    .expect("all is set"),
            );
        let executions = client
            .create_table()
            .table_name(&self.executions)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("due_shard", ScalarAttributeType::N))
            .attribute_definitions(attribute("due_at", ScalarAttributeType::S))
            .attribute_definitions(attribute("source", ScalarAttributeType::S))
            .attribute_definitions(attribute("created_at", ScalarAttributeType::S))
            .attribute_definitions(attribute("attention", ScalarAttributeType::S))
            .key_schema(key("execution", KeyType::Hash))
            .global_secondary_indexes(index("due", "due_shard", "due_at"))
            .global_secondary_indexes(index("recent", "source", "created_at"))
            .global_secondary_indexes(index("attention", "attention", "created_at"));
        for (table, request) in [(&self.journal, journal), (&self.executions, executions)] {
            match request.send().await.map_err(|error| error.into_service_error()) {
                Ok(_) => {
                    failpoint::reached("table.made");
                    expire_by_ttl(client, table).await?;
                }
                // Whoever made it may have died before it was told what expires.
                Err(CreateTableError::ResourceInUseException(_)) => {
                    if !expires(client, table).await {
                        expire_by_ttl(client, table).await?;
                    }
                }
                Err(error) => {
                    return Err(Unavailable(DisplayErrorContext(&error).to_string()));
                }
            }
        }
        Ok(())
    }
}

/// Whether a table's items expire, or nobody may say.
async fn expires(client: &Client, table: &str) -> bool {
    let said = client.describe_time_to_live().table_name(table).send().await;
    let description = match said {
        Ok(said) => said.time_to_live_description,
        Err(error) => {
            let error = DisplayErrorContext(&error);
            tracing::warn!("cannot tell whether items of the table {table} expire: {error}");
            return true;
        }
    };
    !matches!(
        description.and_then(|description| description.time_to_live_status),
        None | Some(TimeToLiveStatus::Disabled)
    )
}

async fn expire_by_ttl(client: &Client, table: &str) -> Result<(), Unavailable> {
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(
            TimeToLiveSpecification::builder()
                .attribute_name("ttl")
                .enabled(true)
                .build()
                .expect("all is set"),
        )
        .send()
        .await
        .map(drop)
        .map_err(|error| Unavailable(DisplayErrorContext(&error).to_string()))
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()
        .expect("all is set")
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("all is set")
}

fn index(name: &str, hash: &str, range: &str) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .key_schema(key(hash, KeyType::Hash))
        .key_schema(key(range, KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .expect("all is set")
}
