//! The tables as DynamoDB needs them, for where no template makes them: one machine and tests.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType, TimeToLiveSpecification,
    TimeToLiveStatus,
};

use crate::executions::Executions;
use crate::failpoint;
use crate::id::Shards;
use crate::store::{Store, Unavailable};
use crate::table::Journal;
use crate::time::Clock;
use crate::timers::Timers;

/// The names of the tables, and into how many shards their indexes are split.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The journal's.
    pub journal: String,
    /// The executions'.
    pub executions: String,
    /// The timers'.
    pub timers: String,
    /// The shards.
    pub shards: Shards,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            journal: "journal".into(),
            executions: "executions".into(),
            timers: "timers".into(),
            shards: Shards::default(),
        }
    }
}

impl Tables {
    /// What `EVERHOOK_JOURNAL_TABLE`, `EVERHOOK_EXECUTIONS_TABLE`, `EVERHOOK_TIMERS_TABLE` and `EVERHOOK_SHARDS` say,
    /// or the defaults.
    pub fn from_env() -> Self {
        let Self { journal, executions, timers, shards } = Self::default();
        let named = |variable, usual| std::env::var(variable).unwrap_or(usual);
        let number = std::env::var("EVERHOOK_SHARDS").ok().and_then(|number| number.parse().ok());
        Self {
            journal: named("EVERHOOK_JOURNAL_TABLE", journal),
            executions: named("EVERHOOK_EXECUTIONS_TABLE", executions),
            timers: named("EVERHOOK_TIMERS_TABLE", timers),
            shards: number.map_or(shards, Shards::new),
        }
    }

    /// The journal in this store.
    pub fn journal_in(&self, store: &Store, clock: Clock) -> Journal {
        Journal::new(store.clone(), self.journal.as_str(), self.shards, clock)
    }

    /// The executions in this store.
    pub fn executions_in(&self, store: &Store) -> Executions {
        Executions::new(store.clone(), self.executions.as_str(), self.shards)
    }

    /// The timers in this store.
    pub fn timers_in(&self, store: &Store) -> Timers {
        Timers::new(store.clone(), self.timers.as_str(), self.shards)
    }

    /// Makes the tables that do not exist yet, and the index that tables of earlier versions lack.
    pub async fn create(&self, client: &Client) -> Result<(), Unavailable> {
        let table = |name: &str| {
            client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest)
        };
        let journal = table(&self.journal)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("sequence", ScalarAttributeType::N))
            .attribute_definitions(attribute("received", ScalarAttributeType::S))
            .attribute_definitions(attribute("at", ScalarAttributeType::S))
            .key_schema(key("execution", KeyType::Hash))
            .key_schema(key("sequence", KeyType::Range))
            .global_secondary_indexes(index("received", "received", "at"))
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::KeysOnly)
                    .build()
                    .expect("all is set"),
            );
        let executions = table(&self.executions)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("attention", ScalarAttributeType::S))
            .attribute_definitions(attribute("created_at", ScalarAttributeType::S))
            .key_schema(key("execution", KeyType::Hash))
            .global_secondary_indexes(index("attention", "attention", "created_at"));
        let timers = table(&self.timers)
            .attribute_definitions(attribute("shard", ScalarAttributeType::S))
            .attribute_definitions(attribute("due", ScalarAttributeType::S))
            .key_schema(key("shard", KeyType::Hash))
            .key_schema(key("due", KeyType::Range));
        let tables =
            [(&self.journal, journal), (&self.executions, executions), (&self.timers, timers)];
        for (table, request) in tables {
            match request.send().await.map_err(|error| error.into_service_error()) {
                Ok(_) => {
                    failpoint::reached("table.made");
                    expire_by_ttl(client, table).await?;
                }
                // The process that made it may have died before it said what expires.
                Err(CreateTableError::ResourceInUseException(_)) => {
                    if !expires(client, table).await {
                        expire_by_ttl(client, table).await?;
                    }
                }
                Err(error) => return Err(unavailable(&error)),
            }
        }
        self.index_received(client).await
    }

    /// Adds the index of received webhooks to a journal of a version that had none.
    async fn index_received(&self, client: &Client) -> Result<(), Unavailable> {
        let described = client.describe_table().table_name(&self.journal).send().await;
        let table = described.map_err(|error| unavailable(&error))?.table;
        let indexes = table.and_then(|table| table.global_secondary_indexes).unwrap_or_default();
        if indexes.iter().any(|index| index.index_name() == Some("received")) {
            return Ok(());
        }
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name("received")
            .key_schema(key("received", KeyType::Hash))
            .key_schema(key("at", KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .expect("all is set");
        let request = client
            .update_table()
            .table_name(&self.journal)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("sequence", ScalarAttributeType::N))
            .attribute_definitions(attribute("received", ScalarAttributeType::S))
            .attribute_definitions(attribute("at", ScalarAttributeType::S))
            .global_secondary_index_updates(
                GlobalSecondaryIndexUpdate::builder().create(create).build(),
            );
        request.send().await.map(drop).map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &(impl std::error::Error + 'static)) -> Unavailable {
    Unavailable(DisplayErrorContext(error).to_string())
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
