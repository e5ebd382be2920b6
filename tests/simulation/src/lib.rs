//! Runs the functions' own code over a simulated DynamoDB that fails in every way it can.
//!
//! A world is one run: a few webhooks, the functions that carry them to an end, and everything that goes wrong
//! meanwhile, all drawn from one seed. The same seed gives the same world, bit for bit.
//!
//! - [`command`], [`mod@run`]: many worlds, on all cores, and what they came to; [`mutants`]: worlds without a guard
//! - `world`: one world; `outsiders`: its senders, callers and operators, and what kills processes
//! - `batches`: senders of several events at once; `bodies`: senders whose ids do not tell events apart; `bursts`: many webhooks whose
//!   target hangs; `quarantine`: one whose requests are refused at first; `answers`: what callers say
//! - `functions`: ingest, processor, projector and sweep as processes that die
//! - `stream`: what wakes them, by way of the product's own event source (`poller`), or of a model of Lambda's (`mapping`)
//! - `tables`, `expression`, `objects`, `sizes`: DynamoDB and the object store
//! - `targets`: what steps act on
//! - `checks`: what must hold; `deliveries`: of the product's event source
//! - `executor`, `dice`, `kit`: time, chance, what worlds share; `faults`, `focus`: what goes wrong, and where most

mod answers;
mod batches;
mod bodies;
mod bursts;
mod checks;
pub mod command;
mod deliveries;
pub mod dice;
mod executor;
mod expiry;
mod expression;
mod faults;
mod focus;
mod functions;
mod kit;
mod mapping;
pub mod mutants;
mod objects;
mod outsiders;
mod poller;
mod quarantine;
pub mod run;
mod sizes;
mod stream;
mod tables;
mod targets;
mod world;

pub use checks::Violation;
pub use faults::Fault;
pub use focus::Focus;
pub use world::{Outcome, quietly, run as run_world};
