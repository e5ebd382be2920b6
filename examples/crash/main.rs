//! The real server, killed again and again, and what it acknowledged, looked for afterwards.
//!
//! `cargo run --example crash -- [--kills 150] [--seed 1] [--failpoints-only]`
//! `cargo run --example crash -- --load [--seconds 30]`
//!
//! - [`server`]: the server under test, a process of its own
//! - [`sender`], [`target`], [`caller`]: who sends, what the steps call, and who calls back
//! - [`ledger`]: what they know
//! - [`lane`]: all of them around one server
//! - [`kills`], [`failpoints`]: when it dies, and where
//! - [`episodes`]: what else befalls a server
//! - [`faults`]: what its disk does to it
//! - [`audit`]: whether it kept its word
//! - [`chance`]: what is drawn
//! - [`load`], [`wire`]: more than it can do, and one kill at the peak

mod audit;
mod caller;
mod chance;
mod episodes;
mod failpoints;
mod faults;
mod kills;
mod lane;
mod ledger;
mod load;
mod sender;
mod server;
mod target;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use everhook::{Cli, Steps};
use everhook_journal::environment;
use tokio::task::JoinSet;

use kills::{Killed, Kills};
use lane::{Lane, Outcome};
use ledger::Ledger;

/// Kills the real server again and again, and looks whether it kept its word.
///
/// Four senders post signed webhooks until each has its 202. Steps call a target that outlives every kill;
/// it is slow, late or ill now and then, and counts who called. Somebody calls back early, late and twice.
/// At the end every webhook that got a 202 must have ended exactly once.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Options {
    /// How often the server is killed: two thirds at any time, one third at named places
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,

    /// What chance begins with. The same seed draws the same webhooks and kills; the machine's timing is its own
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Only kill at named places
    #[arg(long)]
    failpoints_only: bool,

    /// Do this only
    #[arg(long)]
    only: Option<Part>,

    /// Load the server with more than it can do instead, and kill it once, at the peak
    #[arg(long, conflicts_with_all = ["kills", "seed", "failpoints_only", "only"])]
    load: bool,

    /// With --load: how long with half of what it can do, and how long with twice as much
    #[arg(long, default_value_t = 30, requires = "load", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    #[command(subcommand)]
    inside: Option<Inside>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The kills
    Kills,
    /// The first start of a server, interrupted
    FirstStarts,
    /// A server that is frozen for 40 s
    Freeze,
    /// A disk that is full
    Disk,
    /// A disk that does not sync, or has lost or damaged what was on it
    Faults,
    /// A clock that jumps by an hour
    Clock,
}

/// From so many kills on everything is done, each on a server of its own beside the one that is killed.
const ALL_FROM: u64 = 100;

const HELP: &str = "Examples:
  cargo run --example crash                          150 kills
  cargo run --example crash -- --kills 2000          a night's worth
  cargo run --example crash -- --failpoints-only     at the named places alone
  cargo run --example crash -- --only disk           a full disk alone
  cargo run --example crash -- --load                twice what the server can do

From 100 kills on, other servers meanwhile are frozen, have a disk that is full, broken or damaged, or a clock
that jumps.

It ends with 1 on any violation, says which, and keeps the folder with the server's data and log.";

/// What this program does when it starts itself.
#[derive(Debug, Subcommand)]
enum Inside {
    #[command(hide = true)]
    ServeForCrash {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        data_dir: PathBuf,
        #[arg(long)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    if let Some(ended) = everhook_processor::expression::worker::begin() {
        return ended;
    }
    let options = Options::parse();
    if let Some(Inside::ServeForCrash { listen, data_dir, config }) = &options.inside {
        return serve(*listen, data_dir, config);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("crash: no threads could be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let folder = match tempfile::Builder::new().prefix("everhook-crash-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("crash: no folder to work in: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        environment::prepare_tls();
        match options.load {
            true => load::run(folder.path(), Duration::from_secs(options.seconds)).await,
            false => run(&options, folder.path()).await,
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let kept = folder.keep();
            eprintln!("crash: FAILED: {error}; everything is kept in {}", kept.display());
            ExitCode::FAILURE
        }
    }
}

/// The server, exactly as `everhook serve` starts it.
fn serve(listen: SocketAddr, data_dir: &Path, config: &Path) -> ExitCode {
    let listen = listen.to_string();
    let said = ["everhook", "serve", "--listen", &listen].map(std::ffi::OsString::from);
    let said = said.into_iter().chain([
        "--data-dir".into(),
        data_dir.into(),
        "--config".into(),
        config.into(),
    ]);
    everhook::main(Cli::parse_from(said), Steps::new())
}

async fn run(options: &Options, root: &Path) -> io::Result<()> {
    let &Options { kills, seed, failpoints_only, only, .. } = options;
    println!("{kills} kills with seed {seed}, in {}", root.display());
    let rest = kills >= ALL_FROM && !failpoints_only;
    let wanted = |part, usually| only.map_or(usually, |only| only == part);
    let mut ledgers = Vec::new();
    let mut lane = async |name: &'static str| {
        let folder = root.join(name);
        std::fs::create_dir(&folder)?;
        let lane = Lane::new(&folder, seed).await?;
        ledgers.push((name, lane.ledger.clone()));
        io::Result::Ok(lane)
    };
    let mut beside = JoinSet::new();
    if wanted(Part::Freeze, rest) {
        let lane = lane("freeze").await?;
        beside.spawn(async move {
            episodes::freeze(lane).await.map(|it| told("a freeze of 40 s", &it, ""))
        });
    }
    if wanted(Part::Disk, rest) {
        let lane = lane("disk").await?;
        beside.spawn(async move {
            let (outcome, refused) = episodes::full_disk(lane).await?;
            Ok(told("a full disk", &outcome, &format!(", {refused} posts refused with 503")))
        });
    }
    if wanted(Part::Faults, rest) {
        match faults::failing_sync(root)? {
            Some(library) => {
                let lane = lane("sync").await?;
                beside.spawn(async move {
                    let outcome = faults::sync_fails(lane, library).await?;
                    Ok(told("a sync that fails", &outcome, ", the server ended at once"))
                });
            }
            None => println!("no sync fails: there is no C compiler `cc`"),
        }
        let lane = lane("damage").await?;
        beside.spawn(async move {
            let (outcome, count) = faults::damaged(lane).await?;
            Ok(told("a damaged folder", &outcome, &format!(", {count} damages refused")))
        });
    }
    if wanted(Part::Clock, rest) {
        match episodes::clock_library() {
            Some(library) => {
                let lane = lane("clock").await?;
                beside.spawn(async move {
                    episodes::clock(lane, library)
                        .await
                        .map(|it| told("a clock that jumps by an hour", &it, ""))
                });
            }
            None => println!(
                "no clock jumps: libfaketime is not installed (Debian: apt-get install faketime)"
            ),
        }
    }
    if wanted(Part::FirstStarts, true) {
        let root = root.to_owned();
        beside.spawn(async move {
            let count = episodes::first_starts(&root, seed).await?;
            Ok(format!("{count} first starts, interrupted: the next one lacked nothing"))
        });
    }
    let mut last = None;
    if wanted(Part::Kills, true) {
        let lane = lane("kills").await?;
        let (ledger, caller) = (lane.ledger.clone(), lane.caller.clone());
        let killed = kills::run(lane, Kills { count: kills, failpoints_only }, seed).await?;
        last = Some((killed, ledger, caller));
    }
    while let Some(done) = beside.join_next().await {
        println!("{}", done.map_err(io::Error::other)??);
    }
    if let Some((killed, ledger, caller)) = last {
        tell(&killed, &ledger, caller.counts());
    }
    for (name, ledger) in ledgers {
        let violations = ledger.violations();
        if let Some(first) = violations.first() {
            let text = format!("{} violations in {name}; the first: {first}", violations.len());
            return Err(io::Error::other(text));
        }
    }
    Ok(())
}

/// One line of what befell a server, and what became of its webhooks.
fn told(what: &str, outcome: &Outcome, more: &str) -> String {
    let Outcome { acknowledged, found, drained_in } = outcome;
    format!(
        "{what}: {acknowledged} webhooks got a 202, {} completed, {} failed as they may{more}; \
         all ended {:.1} s after the last one",
        found.completed,
        found.failed,
        drained_in.as_secs_f64()
    )
}

fn tell(killed: &Killed, ledger: &Ledger, (called, asked): (usize, usize)) {
    let Killed { kills, failpoints, took, outcome } = killed;
    let found = &outcome.found;
    let answers = ledger.answers();
    println!("\nfailpoints, deaths of times armed: {failpoints}");
    println!(
        "posts: {:?} answered by status, {} unanswered, {} redelivered",
        answers.by_status, answers.unanswered, answers.redelivered
    );
    println!(
        "histories: {} events; {} executions were interrupted in what happens at most once; \
         targets called {} times, {} of these again; called back {called} of {asked}",
        found.events, found.interrupted, found.calls, found.repeated_calls
    );
    println!(
        "{kills} kills in {:.1} s, all ended {:.1} s after the last one",
        took.as_secs_f64(),
        outcome.drained_in.as_secs_f64()
    );
    let lost = outcome.acknowledged - found.completed - found.failed;
    println!(
        "crash: {kills} kills, {} webhooks got a 202, {} completed, {} failed as they may, {lost} lost, \
         {} violations; first 202 after a start: {}",
        outcome.acknowledged,
        found.completed,
        found.failed,
        ledger.violations().len(),
        spread(&ledger.first_202()),
    );
}

/// Half of these are shorter than the first, one in a hundred longer than the second.
fn spread(took: &[Duration]) -> String {
    let mut took = took.to_vec();
    took.sort_unstable();
    let at = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100).max(1);
        took.get(rank - 1).map_or(0, Duration::as_millis)
    };
    format!("p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), at(100))
}
