//! The process under test, from inside: the server as `everhook serve` starts it, and a way to ask for its counts.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_journal::environment;
use everhook_processor::steps::aws::Endpoints;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::webhook::CONFIG;

/// Serves until standard input ends: says the address, then the counts of calls for each line of input.
pub(crate) async fn serve(data_dir: PathBuf) -> io::Result<()> {
    // As the server logs, only not to standard output, which is taken.
    let logger = tracing_subscriber::fmt::layer().json().without_time().with_writer(io::stderr);
    tracing_subscriber::registry().with(logger).with(environment::levels()).init();
    let options = Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        data_dir,
        in_memory: false,
        new_keys: false,
        config: PathBuf::from(CONFIG),
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    let server = Server::start(&options, Steps::new()).await.map_err(io::Error::other)?;
    println!("{}", server.address);
    let mut questions = questions();
    while questions.recv().await.is_some() {
        let calls: BTreeMap<_, _> = server.parts.store.calls().snapshot().into();
        println!("{}", serde_json::to_string(&calls)?);
    }
    server.stop().await;
    Ok(())
}

/// The lines of standard input. A thread of their own: reading them cannot be interrupted.
fn questions() -> mpsc::Receiver<()> {
    let (asked, questions) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || asked.blocking_send(()).is_err() {
                return;
            }
        }
    });
    questions
}
