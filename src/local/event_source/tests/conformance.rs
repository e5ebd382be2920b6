//! The contract of an event source mapping, case by case.
//!
//! Each case has a name, the rule it stands for, and what shows that the rule holds here.
//! Rules of one shard are shown with time as a number; the others by an event source at work.

mod ages;
mod attempts;
mod batches;
mod filters;
mod given_up;
mod mapping;
mod odd;
mod order;
mod responses;
mod restarts;
mod shards;
mod splits;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::script::{Script, child, page, record, shard, source};
use super::*;

/// One rule of the contract.
struct Case {
    name: &'static str,
    rule: &'static str,
    shown: Shown,
}

/// What shows that a rule holds: it panics if it does not.
enum Shown {
    Alone(Box<dyn FnOnce() + Send>),
    AtWork(BoxFuture<'static, ()>),
}

/// A case of one shard, with time as a number.
fn case(name: &'static str, rule: &'static str, shown: impl FnOnce() + Send + 'static) -> Case {
    Case { name, rule, shown: Shown::Alone(Box::new(shown)) }
}

/// A case of an event source at work.
fn at_work(
    name: &'static str,
    rule: &'static str,
    shown: impl Future<Output = ()> + Send + 'static,
) -> Case {
    Case { name, rule, shown: Shown::AtWork(Box::pin(shown)) }
}

/// What the contract is about, in the order of Lambda's settings.
fn table() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("responses", responses::cases()),
        ("batches", batches::cases()),
        ("order", order::cases()),
        ("attempts", attempts::cases()),
        ("splits", splits::cases()),
        ("ages", ages::cases()),
        ("given up", given_up::cases()),
        ("filters", filters::cases()),
        ("shards", shards::cases()),
        ("restarts", restarts::cases()),
        ("odd records", odd::cases()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_the_contract_holds() {
    let table = table();
    let names: Vec<&str> =
        table.iter().flat_map(|(_, cases)| cases.iter().map(|case| case.name)).collect();
    let count = names.len();
    assert_eq!(names.into_iter().collect::<HashSet<_>>().len(), count, "names are told apart");

    let mut running = Vec::new();
    for (subject, cases) in table {
        for Case { name, rule, shown } in cases {
            let shown = match shown {
                Shown::Alone(shown) => tokio::task::spawn_blocking(shown),
                Shown::AtWork(shown) => tokio::spawn(shown),
            };
            running.push((subject, name, rule, shown));
        }
    }

    let mut broken = Vec::new();
    for (subject, name, rule, shown) in running {
        let holds = shown.await.is_ok();
        println!("{} {subject}: {name}. {rule}", if holds { "holds " } else { "BROKEN" });
        if !holds {
            broken.push(name);
        }
    }
    println!("event source mapping: {} of {count} cases hold", count - broken.len());
    assert!(broken.is_empty(), "these do not hold: {broken:#?}");
}
