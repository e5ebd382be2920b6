//! The server of one machine: the Lambda functions' own handlers, and around them
//! what AWS does in a deployment.
//!
//! | in AWS | here |
//! |---|---|
//! | DynamoDB | [`engine`], or another DynamoDB |
//! | event source mappings | [`event_source`] |
//! | API Gateway | [`door`] |
//! | the sweep function and its queue | [`timers`] |
//! | the functions' concurrency | [`pressure`] |

mod alone;
pub mod door;
pub mod engine;
pub mod event_source;
mod files;
pub mod keys;
pub mod objects;
pub mod parts;
pub mod pressure;
pub mod server;
pub mod timers;

pub use engine::Engine;
pub use event_source::Doorbell;
pub use parts::Parts;
pub use pressure::Pressure;
pub use server::Server;
