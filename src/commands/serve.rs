//! `everhook serve`: everything on this machine, until it is told to stop.

use std::io::IsTerminal;

use everhook_journal::environment;
use everhook_processor::Steps;
use everhook_processor::steps::aws::Endpoints;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, print};
use crate::cli::Serve;
use crate::local::Server;
use crate::local::door::Limits;
use crate::local::server::Options;
use crate::printable;

pub(super) async fn run(serve: Serve, steps: Steps) -> Result<(), Failure> {
    log();
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::of)?;
    // Once it is listened to, it ends nothing: neither a terminal that closes nor whoever wants a reload.
    let mut hung_up = signal(SignalKind::hangup()).map_err(Failure::of)?;
    tokio::spawn(async move {
        while hung_up.recv().await.is_some() {
            tracing::warn!("SIGHUP is ignored; a changed configuration takes a restart");
        }
    });
    let options = Options {
        listen: serve.listen,
        data_dir: serve.data_dir,
        in_memory: serve.in_memory,
        new_keys: serve.new_keys,
        config: serve.config.path,
        dynamodb_endpoint: serve.dynamodb_endpoint,
        endpoints: Endpoints {
            lambda: serve.endpoints.endpoint_lambda,
            sqs: serve.endpoints.endpoint_sqs,
            sns: serve.endpoints.endpoint_sns,
            eventbridge: serve.endpoints.endpoint_eventbridge,
            s3: serve.endpoints.endpoint_s3,
        },
        limits: Limits::default(),
    };
    let server = Server::start(&options, steps).await.map_err(Failure::of)?;
    let place = match (&options.dynamodb_endpoint, options.in_memory) {
        (Some(endpoint), _) => format!("tables at {endpoint}"),
        (None, true) => "everything in memory".to_owned(),
        (None, false) => format!("data in {}", options.data_dir.display()),
    };
    print(&format!("everhook listens on http://{} ({place})", server.address));
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        reason = server.failed() => end(&reason),
    }
    let failed = server.failed();
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        () = server.stop() => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        reason = failed => end(&reason),
    }
    Ok(())
}

/// Ends the process after its disk has failed it. Nothing is closed first: closing would write to that disk,
/// and what is not on it was not acknowledged.
fn end(reason: &str) -> ! {
    eprintln!("everhook: {}", printable::line(reason));
    std::process::exit(1)
}

/// Logs for people on a terminal, as JSON lines elsewhere; always to standard error.
fn log() {
    let logger = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logger = match std::io::stderr().is_terminal() {
        true => logger.compact().with_target(false).boxed(),
        false => logger.json().flatten_event(true).with_span_list(false).boxed(),
    };
    // A logger that a user's own program has set is as good.
    tracing_subscriber::registry().with(logger).with(environment::levels()).try_init().ok();
}
