//! What each command does.

mod cancel;
mod check;
pub(crate) mod client;
mod conformance;
mod list;
mod quarantine;
mod redrive;
mod replay;
mod reverify;
mod schema;
mod send;
mod serve;
mod sources;
mod status;
mod verify;
mod workflows;

use everhook_processor::Steps;
use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::printable;

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// An error with its causes.
    fn of(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some errors already say what their cause says.
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        Self(text)
    }
}

/// Runs one command.
pub async fn run(cli: Cli, steps: Steps) -> Result<(), Failure> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => serve::run(serve, steps).await,
        Command::Send(send) => send::run(send).await,
        Command::Status(status) => status::run(status).await,
        Command::List(list) => list::run(list).await,
        Command::Sources(sources) => sources::run(sources).await,
        Command::Workflows(workflows) => workflows::run(workflows).await,
        Command::Quarantine(quarantine) => quarantine::run(quarantine).await,
        Command::Reverify(reverify) => reverify::run(reverify).await,
        Command::Cancel(cancel) => cancel::run(cancel).await,
        Command::Redrive(redrive) => redrive::run(redrive).await,
        Command::Replay(replay) => replay::run(replay).await,
        Command::Verify(verify) => verify::run(verify).await,
        Command::Check(check) => check::run(&check, steps),
        Command::Schema => {
            schema::run();
            Ok(())
        }
        Command::Conformance(conformance) => conformance::run(conformance).await,
        Command::ExpressionWorker => Ok(()),
    }
}

/// Prints lines of ours, in which no text of a stranger reaches the terminal as it is.
/// A reader who has gone away is no failure.
fn print(text: &str) {
    write(&printable::lines(text));
}

/// The same for one line, in which a stranger's line breaks are escaped as well.
fn print_line(text: &str) {
    write(&printable::line(text));
}

/// Prints a value as JSON.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::of)?;
    write(&printable::json(&text));
    Ok(())
}

fn write(text: &str) {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}").ok();
}
