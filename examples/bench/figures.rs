//! How it all is shown: tables to read, and JSON to compare.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::load::Load;
use crate::puts::Puts;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) body_bytes: usize,
    pub(crate) puts: Vec<Puts>,
    pub(crate) loads: Vec<Load>,
    pub(crate) latency: Option<Latency>,
}

/// Durations, in milliseconds: half were shorter than `p50`, one in a hundred longer than `p99`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    /// The spread of these.
    pub(crate) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).max(1);
            took.get(rank - 1).map_or(0.0, |took| rounded(took.as_secs_f64() * 1e3))
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, max } = self;
        write!(f, "{p50:>8.2} {p99:>8.2} {max:>8.2}")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        writeln!(
            f,
            "Local mode, engine on disk, workflow of everhook.toml, bodies of {} bytes, {cores} cores\n\
             shared by server and load. Logs at `warn` unless RUST_LOG says otherwise: at `info`,\n\
             the default of `everhook serve`, each event is a line and costs extra.",
            self.body_bytes
        )?;
        if !self.puts.is_empty() {
            self.puts(f)?;
        }
        if !self.loads.is_empty() {
            self.accepted(f)?;
            self.completed(f)?;
            self.calls(f)?;
        }
        if let Some(latency) = &self.latency {
            trickle(latency, f)?;
        }
        Ok(())
    }
}

impl Figures {
    fn puts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nThe embedded engine alone: conditional puts of 1 KiB, same SDK client")?;
        writeln!(
            f,
            "{:>11} {:>8} {:>8} {:>8} {:>8}",
            "callers", "puts/s", "p50 ms", "p99 ms", "max ms"
        )?;
        for Puts { callers, per_second, took_ms } in &self.puts {
            writeln!(f, "{callers:>11} {per_second:>8.0} {took_ms}")?;
        }
        Ok(())
    }

    fn accepted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWebhooks accepted, with their executions running beside; until the 202")?;
        writeln!(
            f,
            "{:>11} {:>8} {:>8} {:>8} {:>8} {:>10}",
            "connections", "202/s", "p50 ms", "p99 ms", "max ms", "202/put"
        )?;
        for load in &self.loads {
            let Load { accepted_per_second, acknowledgement_ms, .. } = load;
            let ratio = self.ratio(load.connections(), *accepted_per_second);
            let connections = load.connections();
            writeln!(
                f,
                "{connections:>11} {accepted_per_second:>8.0} {acknowledgement_ms} {ratio:>10}"
            )?;
        }
        Ok(())
    }

    fn completed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nExecutions completed: while load was on; all of them, until the last (sustained)"
        )?;
        writeln!(
            f,
            "{:>11} {:>8} {:>8} {:>11} {:>10} {:>9} {:>10}",
            "connections", "on/s", "drain s", "sustained/s", "cpu us/wh", "peak MiB", "sust./put"
        )?;
        for load in &self.loads {
            let ratio = self.ratio(load.connections(), load.sustained_per_second);
            writeln!(
                f,
                "{:>11} {:>8.0} {:>8.2} {:>11.0} {:>10} {:>9} {ratio:>10}",
                load.connections(),
                load.completed_under_load_per_second,
                load.drain_seconds,
                load.sustained_per_second,
                known(load.processor_us_per_webhook, 0),
                known(load.memory_peak_mib, 1),
            )?;
        }
        Ok(())
    }

    fn calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nDynamoDB calls per webhook (with the sweep's 8 queries a second; without the stream's)"
        )?;
        for load in &self.loads {
            write!(f, "{:>11}", load.connections())?;
            for (name, count) in load.calls_per_webhook.iter().filter(|(_, count)| **count > 0.0) {
                write!(f, "  {name} {count:.3}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// So many a second for each put a second that the engine alone does for as many callers.
    fn ratio(&self, connections: usize, per_second: f64) -> String {
        let puts = self.puts.iter().find(|puts| puts.callers == connections);
        known(puts.map(|puts| per_second / puts.per_second), 2)
    }
}

fn trickle(latency: &Latency, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Latency { webhooks, per_second, acknowledged_ms, completed_ms } = latency;
    writeln!(f, "\n{webhooks} webhooks at {per_second}/s, from the time each was due to be sent")?;
    writeln!(f, "{:>20} {:>8} {:>8} {:>8}", "until", "p50 ms", "p99 ms", "max ms")?;
    writeln!(f, "{:>20} {acknowledged_ms}", "the 202")?;
    // The client asks every millisecond, so that it learns of it up to that much later.
    writeln!(f, "{:>20} {completed_ms}", "seen completed")
}

/// More digits than these would be noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or("?".to_owned(), |value| format!("{value:.digits$}"))
}
