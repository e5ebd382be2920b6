//! How fast this machine receives webhooks: local mode, engine on disk, the workflow of `everhook.toml`.
//!
//! `cargo run --profile server --example bench -- [--seconds 5] [--only accept|complete|latency|puts|verify|workflows]`
//!
//! The server runs in a process of its own, so that its memory and processor time are not the load's.
//! Every row has a fresh server with fresh data.
//!
//! - [`webhook`]: what is sent
//! - [`client`]: how it is sent
//! - [`server`], [`process`]: the process under test, seen from inside and from outside
//! - [`load`]: as many webhooks as so many connections can send, and their executions
//! - [`latency`]: a steady trickle, and how soon each execution is seen completed
//! - [`puts`]: what the embedded engine does without us, to compare with
//! - [`verify`]: the verifier alone, beside its primitives
//! - [`workflows`]: what each kind of step costs
//! - [`figures`]: how it all is shown

mod client;
mod figures;
mod latency;
mod load;
mod process;
mod puts;
mod server;
mod signer;
mod verify;
mod webhook;
mod workflows;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use figures::Figures;

/// How many connections load is made with.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// With how many of them completed executions are counted, if nothing else is asked for.
const CONNECTIONS_TO_COMPLETE: usize = 16;

/// Measures local mode.
#[derive(Debug, Parser)]
struct Bench {
    /// How long each row is measured, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Measure this only
    #[arg(long)]
    only: Option<Part>,

    #[command(subcommand)]
    inside: Option<Inside>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Webhooks accepted and completed, at each number of connections
    Accept,
    /// The same, at one number of connections
    Complete,
    /// The time from a webhook to its completion
    Latency,
    /// The embedded engine alone
    Puts,
    /// The verifier alone
    Verify,
    /// Each kind of step: events, appends, calls, and the time to the end
    Workflows,
}

/// What this program does when it starts itself.
#[derive(Debug, Subcommand)]
enum Inside {
    #[command(hide = true)]
    ServeForBench { data_dir: PathBuf },
    #[command(hide = true)]
    PutForBench { data_dir: PathBuf, seconds: u64 },
}

fn main() -> ExitCode {
    if let Some(ended) = everhook_processor::expression::worker::begin() {
        return ended;
    }
    match run(Bench::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> io::Result<()> {
    let time = Duration::from_secs(bench.seconds);
    // The server has the threads that it has in production; the load is made by one, to leave it the rest.
    let mut runtime = match bench.inside {
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
        None => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    match bench.inside {
        Some(Inside::ServeForBench { data_dir }) => runtime.block_on(server::serve(data_dir)),
        Some(Inside::PutForBench { data_dir, seconds }) => {
            runtime.block_on(puts::measure(&data_dir, Duration::from_secs(seconds)))
        }
        None => runtime.block_on(measure(time, bench.only)),
    }
}

async fn measure(time: Duration, only: Option<Part>) -> io::Result<()> {
    if cfg!(debug_assertions) {
        println!("This is a debug build: say --profile server for figures that mean something.\n");
    }
    let wanted = |part| only.is_none_or(|only| only == part);
    let mut figures =
        Figures { body_bytes: webhook::Body::new().number(0).len(), ..Figures::default() };
    if wanted(Part::Verify) {
        let verified = verify::measure(time)?;
        verified.iter().for_each(|row| println!("{row}"));
        println!("{}\n", serde_json::to_string(&verified)?);
    }
    if only == Some(Part::Verify) {
        return Ok(());
    }
    if wanted(Part::Workflows) {
        println!("{}", workflows::HEAD);
        let taken = workflows::measure().await?;
        println!("{}\n", serde_json::to_string(&taken)?);
    }
    if only == Some(Part::Workflows) {
        return Ok(());
    }
    if wanted(Part::Puts) {
        figures.puts = puts::in_a_process(time)?;
    }
    let loads: &[usize] = match only {
        None | Some(Part::Accept) => &CONNECTIONS,
        Some(Part::Complete) => &[CONNECTIONS_TO_COMPLETE],
        Some(Part::Latency | Part::Puts | Part::Verify | Part::Workflows) => &[],
    };
    for connections in loads {
        figures.loads.push(load::measure(*connections, time).await?);
    }
    if wanted(Part::Latency) {
        figures.latency = Some(latency::measure(time * 2).await?);
    }
    println!("{figures}");
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
