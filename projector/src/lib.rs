//! Keeps the status view, and answers queries from it.
//!
//! - [`project`]: the journal's records become newer views
//! - [`status`]: `GET /status/{token}` and the operators' queries
//! - `current`: an execution as it is now; [`list`]: pages of executions
//! - [`shown`]: how an execution looks in JSON
//! - [`workflows`]: which definitions unfinished executions run

mod current;
pub mod list;
pub mod project;
pub mod shown;
pub mod status;
pub mod workflows;

pub use project::{Projector, handle};
pub use status::StatusApi;
