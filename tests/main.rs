//! The whole system on one machine: the deployed handlers, the embedded engine, and time as a number.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod actors;
mod answers;
mod batches;
mod bodies;
mod bulkheads;
mod check;
mod conflicts;
mod data_folder;
mod disorder;
mod docs;
mod durable;
mod earlier_tables;
mod engine_contract;
mod events;
mod expiry;
mod failures;
mod first_way;
mod handshakes;
mod hooked;
mod hostile;
#[cfg(unix)]
mod hostile_expressions;
mod http_door;
mod identities;
mod in_flight;
mod mutations;
mod outbound;
mod quarantine;
mod queries;
mod readable_json;
mod recorded_requests;
mod recovery;
mod refusal_log;
mod refused;
mod repeats;
mod rules;
mod schema;
mod secrets;
mod showcase;
mod standing;
mod stream_loss;
mod structure;
mod suspects;
mod sweep;
mod vectors;
mod verified;
mod verify;
mod workflows;
mod world;
mod worlds;
mod write_units;
