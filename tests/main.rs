//! The whole system on one machine: the deployed handlers, the embedded engine, and time as a number.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod batches;
mod bodies;
mod check;
mod disorder;
mod docs;
mod durable;
mod engine_contract;
mod events;
mod expiry;
mod failures;
mod first_way;
mod handshakes;
mod hostile;
mod http_door;
mod mutations;
mod outbound;
mod quarantine;
mod queries;
mod recovery;
mod refused;
mod repeats;
mod schema;
mod secrets;
mod showcase;
mod standing;
mod suspects;
mod sweep;
mod vectors;
mod verify;
mod workflows;
mod world;
mod worlds;
