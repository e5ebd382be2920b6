//! The handful of DynamoDB calls that everything here is made of.
//!
//! This is the one place that talks to DynamoDB and sorts its errors, so that
//! a simulated store can stand in its place and replace nothing else of ours.

#[cfg(feature = "simulation")]
pub mod simulated;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
};

use crate::guard::{self, Guard};
use crate::item::number;
use crate::time::Timestamp;

/// An item: attribute names and values.
pub type Item = HashMap<String, AttributeValue>;

/// The most keys that one [`Store::batch_get`] call takes.
pub const BATCH_GET_MAX: usize = 100;

/// How often a batch read asks again for keys that DynamoDB left out.
const BATCH_GET_ROUNDS_MAX: usize = 8;

/// DynamoDB, as far as we use it. A clone is the same store.
///
/// Each call is boxed: the client's futures have kilobytes, and every future above would hold them.
#[derive(Debug, Clone)]
pub struct Store {
    tables: Tables,
    calls: Arc<Calls>,
}

/// Who keeps the items.
#[derive(Debug, Clone)]
enum Tables {
    DynamoDb(Client),
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn simulated::Tables>),
}

/// The client, or the result of the same call to a simulation.
macro_rules! client {
    ($store:expr, $simulated:ident => $call:expr) => {
        match &$store.tables {
            Tables::DynamoDb(client) => client,
            #[cfg(feature = "simulation")]
            Tables::Simulated($simulated) => return $call.await,
        }
    };
}

/// An expression with its placeholders: `#name` stands for the attribute `name`.
#[derive(Debug, Clone, Default)]
pub struct Expression {
    text: String,
    names: Vec<&'static str>,
    values: Vec<(&'static str, AttributeValue)>,
}

/// One request for items in the order of their sort key.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// An index, or none for the table itself.
    pub index: Option<&'static str>,
    /// The key condition.
    pub key: Expression,
    /// Which attributes to return; all if empty.
    pub attributes: Vec<&'static str>,
    /// Largest first.
    pub descending: bool,
    /// At most this many items.
    pub limit: Option<i32>,
    /// Go on after this key.
    pub start: Option<Item>,
    /// See every write that was acknowledged. Indexes cannot.
    pub consistent: bool,
}

impl Store {
    /// Uses this client.
    pub fn new(client: Client) -> Self {
        Self { tables: Tables::DynamoDb(client), calls: Arc::default() }
    }

    /// Uses these tables instead of DynamoDB's.
    #[cfg(feature = "simulation")]
    pub fn simulated(tables: Arc<dyn simulated::Tables>) -> Self {
        Self { tables: Tables::Simulated(tables), calls: Arc::default() }
    }

    /// How many calls were made, by operation.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Puts a whole item if the condition holds.
    pub async fn put(
        &self,
        table: &str,
        item: Item,
        condition: Expression,
    ) -> Result<(), WriteError> {
        Calls::count(&self.calls.puts);
        let client = client!(self, it => it.put(table, item, condition));
        let request = client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression(&condition.text)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Box::pin(request.send())
            .await
            .map(drop)
            .map_err(|error| write_error(error, |e| match e {
                aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(e) => Some(e.item.clone()),
                _ => None,
            }))
    }

    /// Changes some attributes of an item if the condition holds.
    pub async fn update(
        &self,
        table: &str,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Result<(), WriteError> {
        Calls::count(&self.calls.updates);
        let client = client!(self, it => it.update(table, key, change, condition));
        let both = Expression {
            text: String::new(),
            names: [change.names, condition.names].concat(),
            values: [change.values, condition.values].concat(),
        };
        let request = client
            .update_item()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(&change.text)
            .condition_expression(&condition.text)
            .set_expression_attribute_names(both.names())
            .set_expression_attribute_values(both.values());
        Box::pin(request.send())
            .await
            .map(drop)
            .map_err(|error| write_error(error, |e| match e {
                aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(e) => Some(e.item.clone()),
                _ => None,
            }))
    }

    /// Deletes an item if the condition holds.
    pub async fn delete(
        &self,
        table: &str,
        key: Item,
        condition: Expression,
    ) -> Result<(), WriteError> {
        Calls::count(&self.calls.deletes);
        let client = client!(self, it => it.delete(table, key, condition));
        let request = client
            .delete_item()
            .table_name(table)
            .set_key(Some(key))
            .condition_expression(&condition.text)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values());
        Box::pin(request.send())
            .await
            .map(drop)
            .map_err(|error| write_error(error, |e| match e {
                aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(e) => Some(e.item.clone()),
                _ => None,
            }))
    }

    /// An item as of the last acknowledged write.
    pub async fn get(&self, table: &str, key: Item) -> Result<Option<Item>, Unavailable> {
        Calls::count(&self.calls.gets);
        let client = client!(self, it => it.get(table, key));
        let request = client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        let output = Box::pin(request.send()).await.map_err(unavailable)?;
        Ok(output.item)
    }

    /// Many items, in no order; those that do not exist are left out. Not consistent.
    pub async fn batch_get(
        &self,
        table: &str,
        keys: Vec<Item>,
        attributes: &[&'static str],
    ) -> Result<Vec<Item>, Unavailable> {
        let client = client!(self, it => it.batch_get(table, keys));
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(BATCH_GET_MAX) {
            let mut wanted = Some(chunk.to_vec());
            let mut rounds = 0;
            while let Some(keys) = wanted.take() {
                if rounds == BATCH_GET_ROUNDS_MAX {
                    return Err(Unavailable("DynamoDB left keys of a batch unread".into()));
                }
                rounds += 1;
                Calls::count(&self.calls.batch_gets);
                let projection = projection(attributes);
                let request = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .set_projection_expression(projection.clone().map(|p| p.text))
                    .set_expression_attribute_names(projection.and_then(|p| p.names()))
                    .build()
                    .expect("keys are set");
                let request = client.batch_get_item().request_items(table, request);
                let output = Box::pin(request.send()).await.map_err(unavailable)?;
                found.extend(output.responses.into_iter().flatten().flat_map(|(_, items)| items));
                wanted = output
                    .unprocessed_keys
                    .and_then(|mut tables| tables.remove(table))
                    .map(|rest| rest.keys)
                    .filter(|keys| !keys.is_empty());
            }
        }
        Ok(found)
    }

    /// One page of items, and the key to go on after if there are more.
    pub async fn query(
        &self,
        table: &str,
        query: Query,
    ) -> Result<(Vec<Item>, Option<Item>), Unavailable> {
        Calls::count(&self.calls.queries);
        let client = client!(self, it => it.query(table, query));
        let projection = projection(&query.attributes);
        let mut names = query.key.clone();
        names.names.extend(query.attributes);
        let request = client
            .query()
            .table_name(table)
            .set_index_name(query.index.map(str::to_owned))
            .key_condition_expression(&query.key.text)
            .set_projection_expression(projection.map(|p| p.text))
            .set_expression_attribute_names(names.names())
            .set_expression_attribute_values(query.key.values())
            .set_scan_index_forward(query.descending.then_some(false))
            .set_limit(query.limit)
            .set_exclusive_start_key(query.start)
            .set_consistent_read(query.consistent.then_some(true));
        let output = Box::pin(request.send()).await.map_err(unavailable)?;
        Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
    }
}

impl Store {
    /// The same of an index that may not be there any more: then `None`.
    pub async fn query_if_indexed(
        &self,
        table: &str,
        query: Query,
    ) -> Result<Option<(Vec<Item>, Option<Item>)>, Unavailable> {
        match self.query(table, query).await {
            Ok(page) => Ok(Some(page)),
            // DynamoDB has no code of its own for this.
            Err(Unavailable(reason)) if reason.contains("does not have the specified index") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Expression {
    /// An expression in which every attribute is written as `#name`.
    pub fn new(text: impl Into<String>, names: &[&'static str]) -> Self {
        Self { text: text.into(), names: names.to_vec(), values: Vec::new() }
    }

    /// That nothing stands there, or something that expired before this time.
    pub fn free_or_expired(before: Timestamp) -> Self {
        Self::new("attribute_not_exists(#execution) OR #ttl < :before", &["execution", "ttl"])
            .with(":before", number(before.as_millis().div_euclid(1000)))
    }

    /// That anything or nothing stands there.
    pub fn always(key: &'static str) -> Self {
        Self::new(format!("attribute_exists(#{key}) OR attribute_not_exists(#{key})"), &[key])
    }

    /// With `placeholder` (`:value`) standing for this value.
    pub fn with(mut self, placeholder: &'static str, value: AttributeValue) -> Self {
        self.values.push((placeholder, value));
        self
    }

    /// This condition, as long as the guard holds.
    #[inline]
    pub fn guarded(self, guard: Guard) -> Self {
        if guard::holds(guard) {
            return self;
        }
        // What always holds.
        Self { text: "attribute_not_exists(#nothing)".into(), ..self }
    }

    /// The text, the attributes that it names, and the values with their placeholders.
    #[cfg(feature = "simulation")]
    pub fn parts(&self) -> (&str, &[&'static str], &[(&'static str, AttributeValue)]) {
        (&self.text, &self.names, &self.values)
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        let pairs = self.names.iter().map(|name| (format!("#{name}"), (*name).to_owned()));
        (!self.names.is_empty()).then(|| pairs.collect())
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let pairs = self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        (!self.values.is_empty()).then(|| pairs.collect())
    }
}

fn projection(attributes: &[&'static str]) -> Option<Expression> {
    let text = attributes.iter().map(|name| format!("#{name}")).collect::<Vec<_>>().join(", ");
    (!attributes.is_empty()).then(|| Expression::new(text, attributes))
}

/// How many calls were made, by operation.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the operations are DynamoDB's")]
pub struct Calls {
    pub puts: AtomicU64,
    pub updates: AtomicU64,
    pub deletes: AtomicU64,
    pub gets: AtomicU64,
    pub batch_gets: AtomicU64,
    pub queries: AtomicU64,
}

impl Calls {
    /// Each operation's name and count.
    pub fn snapshot(&self) -> [(&'static str, u64); 6] {
        [
            ("PutItem", &self.puts),
            ("UpdateItem", &self.updates),
            ("DeleteItem", &self.deletes),
            ("GetItem", &self.gets),
            ("BatchGetItem", &self.batch_gets),
            ("Query", &self.queries),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a write did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The condition does not hold; with the item as it is, where it was asked for.
    #[error("the item is not in the expected state")]
    Condition(Option<Item>),
    /// DynamoDB refuses such an item, now and always.
    #[error("DynamoDB refuses the item: {0}")]
    Refused(String),
    /// It is not known whether the write happened.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// DynamoDB did not answer as it should. Says why in words; holds no item.
#[derive(Debug, Clone, thiserror::Error)]
#[error("DynamoDB is not available: {0}")]
pub struct Unavailable(pub String);

fn unavailable<E: std::error::Error + 'static, R: std::fmt::Debug>(
    error: SdkError<E, R>,
) -> Unavailable {
    Unavailable(DisplayErrorContext(&error).to_string())
}

fn write_error<E, R>(
    error: SdkError<E, R>,
    condition: impl Fn(&E) -> Option<Option<Item>>,
) -> WriteError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    if let Some(service) = error.as_service_error() {
        if let Some(old) = condition(service) {
            return WriteError::Condition(old);
        }
        if service.code() == Some("ValidationException") {
            return WriteError::Refused(service.message().unwrap_or("no reason given").to_owned());
        }
    }
    WriteError::Unavailable(unavailable(error))
}
