//! The pages that are made, not written, must be what would be made now; and examples must be right.

use std::collections::BTreeSet;
use std::path::Path;

use everhook::Steps;
use everhook_ingest::signature::preset;
use everhook_journal::config::Config;
use everhook_processor::steps::keys::KINDS;

use crate::vectors::{NOW, published};

/// What `docs/conformance.md` begins with.
const CONFORMANCE: &str = "\
# Conformance

`everhook conformance FILE` judges a file of vectors: requests that senders' documentation, libraries and tests
publish, and forged ones made from them. Each must be accepted, or refused, as the file says.
With `--url URL` it sends them to a running receiver instead, with `--json` it prints for machines;
it exits with 1 if any of them fails, and says which and why.
What runs with `--url`: vectors that pin no clock, and whose secret is the one of the source named like their scheme.

This is the table of our last run, over the collection of vectors from 30 senders, made by
`UPDATE_DOCS=1 cargo test -p everhook --test everhook -- docs`.
Our own vectors, at least one for every sender in [sources.md](sources.md), are in
[`tests/vectors.json`](../tests/vectors.json), in the same form; `cargo test` runs both.

```
";

/// Makes sure that a page is what it must be, or makes it so if `UPDATE_DOCS` is set.
#[track_caller]
pub(crate) fn assert_fresh(name: &str, page: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        is == page,
        "docs/{name} is old: UPDATE_DOCS=1 cargo test -p everhook --test everhook -- docs"
    );
}

#[test]
fn the_page_of_all_senders_is_fresh() {
    assert_fresh("sources.md", &preset::page());
}

#[test]
fn the_table_of_conformance_is_fresh() {
    let Some(published) = published() else { return };
    let table = published.judge(NOW).to_string();
    let page = include_str!("../docs/conformance.md");
    // A collection of another size is another one, which the page does not tell of.
    if std::env::var_os("UPDATE_DOCS").is_some() || judged(page) == judged(&table) {
        assert_fresh("conformance.md", &format!("{CONFORMANCE}{table}\n```\n"));
    }
}

/// How many vectors a table tells of, in its last line.
fn judged(table: &str) -> u64 {
    let last = table.lines().rfind(|line| line.contains(" passed, ")).unwrap_or_default();
    last.split(' ').filter_map(|word| word.parse::<u64>().ok()).sum()
}

#[test]
fn the_examples_of_all_kinds_of_step_can_be_copied() {
    let blocks = include_str!("../docs/steps.md").split("```toml\n").skip(1);
    let examples: String = blocks.filter_map(|block| block.split("```").next()).collect();
    let examples = examples.replace("\"schemas/push.json\"", "{}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");

    let config = Config::parse(&examples, folder).unwrap();

    assert_eq!(everhook::check::problems(&config, Steps::new()), []);
    let kinds = config.workflows.values().flat_map(|workflow| &workflow.steps);
    let kinds: BTreeSet<_> = kinds.map(|step| step.run.as_str()).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| kind.name).collect());
}
