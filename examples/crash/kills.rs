//! The server, killed again and again: without warning at any time, and at named places.

use std::io;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::failpoints::Failpoints;
use crate::lane::{Lane, Outcome};
use crate::server::{Server, died_at_failpoint};

/// How long the senders pause, in milliseconds.
const PAUSE_MS: (u64, u64) = (30, 130);

/// When a server is killed, after it was ready.
const KILLED_AFTER_MS: (u64, u64) = (20, 600);

/// How long a server may take to reach its failpoint.
const FAILPOINT_MAX: Duration = Duration::from_secs(8);

/// One of so many kills comes while the server still starts.
const STARTING_EVERY: u64 = 8;

/// One of so many deaths is followed by a look at the files.
const LOOK_EVERY: u64 = 25;

/// One of so many deaths is told.
const TOLD_EVERY: u64 = 10;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kills {
    pub(crate) count: u64,
    pub(crate) failpoints_only: bool,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Killed {
    pub(crate) kills: u64,
    pub(crate) failpoints: Failpoints,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// How one server is to end.
enum End {
    /// So long after it was ready.
    Ready(Duration),
    /// So long after it was started.
    Starting(Duration),
    Failpoint(&'static str, u64),
}

/// Kills, and looks what is left.
pub(crate) async fn run(mut lane: Lane, kills: Kills, seed: u64) -> io::Result<Killed> {
    let began = Instant::now();
    let mut chance = Chance::new(seed, "kills");
    let mut failpoints = Failpoints::new();
    // The first one makes the secrets that the senders share.
    let server = lane.serve(&lane.start())?;
    lane.send(PAUSE_MS)?;
    kill(server)?;
    for number in 1..kills.count.max(1) {
        let end = draw(kills, &mut chance, &mut failpoints);
        die(&lane, &end, &mut failpoints).await?;
        if number % LOOK_EVERY == 0 {
            lane.look(number, &mut chance)?;
        }
        if number % TOLD_EVERY == 0 {
            let deaths = failpoints.deaths();
            let (acknowledged, seconds) = (lane.ledger.count(), began.elapsed().as_secs());
            println!(
                "{seconds:>4} s  {number} kills, {deaths} at failpoints, {acknowledged} webhooks"
            );
        }
        if !lane.ledger.violations().is_empty() {
            break;
        }
    }
    let never = failpoints.never();
    if !never.is_empty() {
        lane.ledger.violation(format!("no server ever died at {}", never.join(", ")));
    }
    let server = lane.serve(&lane.start())?;
    let took = began.elapsed();
    println!("{:>4} s  killed; everything may end now", took.as_secs());
    let outcome = lane.finish(server).await?;
    Ok(Killed { kills: kills.count, failpoints, took, outcome })
}

fn draw(kills: Kills, chance: &mut Chance, failpoints: &mut Failpoints) -> End {
    if kills.failpoints_only || chance.below(3) == 0 {
        let (name, passes) = failpoints.arm(chance);
        return End::Failpoint(name, passes);
    }
    match chance.below(STARTING_EVERY) {
        0 => End::Starting(chance.between_ms(1, 150)),
        _ => End::Ready(chance.between_ms(KILLED_AFTER_MS.0, KILLED_AFTER_MS.1)),
    }
}

/// Starts a server and sees it die.
async fn die(lane: &Lane, end: &End, failpoints: &mut Failpoints) -> io::Result<()> {
    let mut start = lane.start();
    match *end {
        End::Ready(time) => {
            let server = lane.serve(&start)?;
            tokio::time::sleep(time).await;
            kill(server)
        }
        End::Starting(time) => {
            let server = lane.spawn(&start)?;
            tokio::time::sleep(time).await;
            kill(server)
        }
        End::Failpoint(name, passes) => {
            start.failpoint = Some((name, passes));
            let mut server = lane.spawn(&start)?;
            // It may die before it is ready.
            tokio::task::block_in_place(|| server.is_ready())?;
            let ended = tokio::task::block_in_place(|| server.ended_within(FAILPOINT_MAX))?;
            match ended {
                Some(status) if died_at_failpoint(status) => failpoints.died(name),
                Some(status) => {
                    let text = format!("the server died by itself, before {name}: {status}");
                    return Err(io::Error::other(text));
                }
                None => {
                    failpoints.missed(name);
                    kill(server)?;
                }
            }
            Ok(())
        }
    }
}

fn kill(server: Server) -> io::Result<()> {
    tokio::task::block_in_place(|| server.kill())
}
