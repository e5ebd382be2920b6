//! The command line: which worlds to run, and how to look at one.

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use everhook_journal::guard::Guard;

use crate::mutants::{self, Verdict};
use crate::run::{Summary, Worlds, run, threads};
use crate::{Fault, Focus, world};

/// How many broken worlds are told of.
const TOLD: usize = 10;

/// Runs the functions' own code over a simulated DynamoDB, stream and object store that fail in every way they can.
///
/// Each seed is a world of its own: a few webhooks, and everything that goes wrong until the last of them has ended.
/// The same seed gives the same world, bit for bit. Rules are checked on every append, every row, every answer
/// and at the end; a broken one is told with the command that replays its world.
#[derive(Debug, Parser)]
#[command(name = "simulate", after_help = EXAMPLES)]
struct Options {
    /// How many worlds to run
    #[arg(long, value_name = "N", default_value = "1000")]
    worlds: NonZeroU64,
    /// The seed of the first world; the others follow
    #[arg(long, value_name = "S", default_value_t = 0)]
    from_seed: u64,
    /// Stop after so many seconds, however many worlds there were
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Tell everything that happens in the first world, and run no other
    #[arg(long)]
    trace: bool,
    /// Switch a guard of the protocol off, to see what it is for
    #[arg(long, value_name = "GUARD", value_parser = guard)]
    without: Option<Guard>,
    /// Let all worlds be about one thing
    #[arg(long, value_name = "FOCUS", value_parser = focus, conflicts_with = "mutants")]
    about: Option<Focus>,
    /// Switch each guard off in turn, and see whether a rule is broken; --worlds is how many each gets at most
    #[arg(long, conflicts_with_all = ["trace", "without", "twice"])]
    mutants: bool,
    /// With --mutants: leave out those that are tolerated
    #[arg(long, requires = "mutants")]
    required: bool,
    /// Run each world twice, and compare everything that happened
    #[arg(long)]
    twice: bool,
    /// On how many threads
    #[arg(long, value_name = "N", default_value_t = threads())]
    threads: usize,
}

const EXAMPLES: &str = "\
Examples:
  simulate --worlds 60000              what continuous integration runs as many of as it has time for
  simulate --worlds 1 --from-seed 42 --trace
  simulate --worlds 500 --twice        the same seed gives the same world
  simulate --mutants --worlds 4000     every guard is missed";

fn guard(name: &str) -> Result<Guard, String> {
    Guard::parse(name).ok_or_else(|| {
        let names: Vec<_> = Guard::ALL.iter().map(|guard| format!("{guard:?}")).collect();
        format!("there is no such guard; there are {}", names.join(", "))
    })
}

fn focus(name: &str) -> Result<Focus, String> {
    Focus::parse(name).ok_or_else(|| format!("worlds can be about {:?}", Focus::ALL))
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let options = Options::parse();
    if options.trace {
        return trace(&options);
    }
    if options.mutants {
        return mutants(&options);
    }
    let (summary, differing) = worlds(&options);
    tell(&summary);
    if options.twice {
        println!("{} worlds run twice, {differing} differ", summary.worlds);
    }
    for (seed, violation) in summary.broken.iter().take(TOLD) {
        println!("seed {seed}: {}: {}", violation.rule, violation.what);
        println!("  replay: {}", replay(*seed, &options));
    }
    match summary.broken.is_empty() && differing == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn worlds(options: &Options) -> (Summary, u64) {
    let all = Worlds {
        first: options.from_seed,
        many: options.worlds.get(),
        without: options.without,
        about: options.about,
        broken_max: TOLD,
        limit: options.seconds.map(Duration::from_secs),
        threads: options.threads,
    };
    let progress = |worlds: u64, broken: usize| eprintln!("{worlds} worlds, {broken} broken");
    let summary = run(all, &progress);
    if !options.twice {
        return (summary, 0);
    }
    let again = run(Worlds { many: summary.worlds, limit: None, ..all }, &|_, _| {});
    // The sum of all digests is the same only if each of them is.
    (summary.clone(), u64::from(again.digest != summary.digest))
}

fn trace(options: &Options) -> ExitCode {
    let outcome = world::run(options.from_seed, options.without, options.about, true);
    match outcome.violation {
        Some(violation) => {
            println!("seed {}: {}: {}", options.from_seed, violation.rule, violation.what);
            ExitCode::FAILURE
        }
        None => {
            let [completed, failed, cancelled] = outcome.ends;
            println!(
                "seed {}: every rule held; {completed} completed, {failed} failed, {cancelled} cancelled in {:?}",
                options.from_seed, outcome.took
            );
            ExitCode::SUCCESS
        }
    }
}

fn mutants(options: &Options) -> ExitCode {
    let (mut caught, mut survived) = (0, Vec::new());
    let required = |guard: &Guard| !options.required || mutants::verdict(*guard) == Verdict::Caught;
    let guards: Vec<_> = Guard::ALL.iter().copied().filter(required).collect();
    for guard in guards.iter().copied() {
        let worlds = Worlds {
            first: options.from_seed,
            many: options.worlds.get(),
            without: Some(guard),
            about: None,
            broken_max: 1,
            limit: options.seconds.map(Duration::from_secs),
            threads: options.threads,
        };
        let summary = run(worlds, &|_, _| {});
        let name = format!("{guard:?}");
        match (summary.broken.first(), mutants::verdict(guard)) {
            (Some((seed, violation)), _) => {
                caught += 1;
                println!(
                    "caught     {name:<24} after {:>6} worlds, by {:<3} (seed {seed})",
                    summary.worlds, violation.rule
                );
            }
            (None, Verdict::Tolerated(why)) => {
                println!("tolerated  {name:<24} in {} worlds: {why}", summary.worlds);
            }
            (None, Verdict::Caught) => {
                println!("SURVIVED   {name:<24} {} worlds", summary.worlds);
                survived.push(name);
            }
        }
    }
    let tolerated = guards.len() - caught - survived.len();
    println!(
        "{} mutants: {caught} caught, {tolerated} tolerated, {} survived",
        guards.len(),
        survived.len()
    );
    match survived.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn tell(summary: &Summary) {
    let Summary { worlds, broken, ends, appends, calls, simulated, faults, took, digest } = summary;
    let mut struck: Vec<_> = Fault::ALL.iter().zip(faults).collect();
    struck.sort_by_key(|(_, many)| std::cmp::Reverse(**many));
    for ((_, _, words), many) in struck {
        println!("{many:>12}  {words}");
    }
    let [completed, failed, cancelled] = ends;
    let all: u64 = faults.iter().sum();
    let rate = *worlds as f64 / took.as_secs_f64();
    let days = simulated.as_secs_f64() / 86_400.0;
    println!(
        "{worlds} worlds in {:.0} s ({rate:.0}/s), {days:.1} days of their time: {completed} executions completed, \
         {failed} failed, {cancelled} cancelled; {appends} appends, {calls} writes, {all} faults; digest {digest:016x}",
        took.as_secs_f64()
    );
    println!("{} broken", broken.len());
}

fn replay(seed: u64, options: &Options) -> String {
    let without = options.without.map_or_else(String::new, |guard| format!(" --without {guard:?}"));
    let about = options.about.map_or_else(String::new, |focus| format!(" --about {focus:?}"));
    format!(
        "cargo run --release --example simulate -- --worlds 1 --from-seed {seed} --trace{without}{about}"
    )
}
