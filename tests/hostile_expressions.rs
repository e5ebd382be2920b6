//! Bodies that size the work of an expression, against the real server with 1 GiB of address space.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use everhook_projector::shown::ShownExecution;
use futures_util::StreamExt;
use rand::seq::SliceRandom;

use crate::recovery::{Server, get};
use crate::world::client;

/// Expressions whose work the body decides.
const EXPRESSIONS: [&str; 14] = [
    ".Message | fromjson | .id",
    ".sep * .width",
    "[range(.count)]",
    "def up(n): if n == 0 then 0 else 1 + up(n - 1) end; up(.count)",
    ".text | gsub(\"\\n\"; \"<br>\")",
    "last(range(.count))",
    ".text | tonumber",
    "[.. | tostring] | sort | join(\"\")",
    "[limit(.count; repeat(.text))] | add",
    ".list | [combinations] | length",
    ".text | test(\"(a+)+$\")",
    "reduce range(.count) as $i ([]; [.])",
    ".list | tojson | tojson | tojson | tojson | tojson",
    ".[.text] = 1 | .list[.count] = 1",
];

/// What one body is, of each kind.
fn bodies() -> Vec<String> {
    let body = |message: &str, count: &str, text: &str, list: &str| {
        format!(
            r#"{{"Message":"{message}","sep":"ab","width":{count},"count":{count},"text":"{text}","list":{list}}}"#
        )
    };
    let deep = "[".repeat(3_000);
    let quotes = format!("[\"{}\"]", "\\\"".repeat(20_000));
    let pairs = format!("[{}]", vec!["[1,2,3,4]"; 20].join(","));
    let nested = "[".repeat(100) + &"]".repeat(100);
    let lines = "\\n".repeat(150_000);
    let digits = "7".repeat(300_000);
    let letters = format!("{}!", "a".repeat(50_000));
    let mut bodies = Vec::new();
    for (count, list) in [
        ("9e9", pairs.as_str()),
        ("2e9", quotes.as_str()),
        ("3e6", nested.as_str()),
        ("1e12", "[]"),
        ("-1", "null"),
    ] {
        for (message, text) in
            [(deep.as_str(), lines.as_str()), ("1 2", digits.as_str()), ("", letters.as_str())]
        {
            bodies.push(body(message, count, text, list));
        }
    }
    bodies.push(digits);
    bodies.push("[".repeat(100_000));
    bodies
}

fn config() -> String {
    let source = |name: &str, jq: &str| {
        format!(
            "[sources.{name}]\nverify = \"none\"\nworkflow = \"{name}\"\n\
             [[workflows.{name}.steps]]\nname = \"compute\"\nrun = \"transform\"\n\
             jq = '''{jq}'''\ntimeout = \"20s\"\n"
        )
    };
    let hostile = EXPRESSIONS.iter().enumerate();
    let hostile = hostile.map(|(index, jq)| source(&format!("hostile{index}"), jq));
    let healthy = [source("plain", "{id: .id}"), source("worker", ".id | gsub(\"a\"; \"b\")")];
    hostile.chain(healthy).collect()
}

/// Starts the server in 1 GiB of address space.
fn start(folder: &Path) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 1048576 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_everhook")]);
    Server::start_by(shell, folder)
}

async fn post(client: &reqwest::Client, url: &str, source: &str, body: String) -> Option<String> {
    let response = client.post(format!("{url}/webhook/{source}")).body(body).send().await.ok()?;
    let answer: serde_json::Value = serde_json::from_str(&response.text().await.ok()?).ok()?;
    Some(answer["executionToken"].as_str()?.to_owned())
}

/// Waits for the end of an execution; none if the server cannot be asked.
async fn ended(client: &reqwest::Client, url: &str, token: &str) -> Option<String> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(100) {
        let answer = client.get(format!("{url}/status/{token}")).send().await.ok()?;
        let shown: ShownExecution = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        if shown.status.is_terminal() {
            return Some(shown.status.as_str().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some("never ended".into())
}

/// How long healthy webhooks take from their post to their end, until they are told to stop.
async fn healthy(client: &reqwest::Client, url: &str, until: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0.. {
        if Instant::now() > until {
            break;
        }
        let source = ["plain", "worker"][n % 2];
        let began = Instant::now();
        let body = format!(r#"{{"id":"a{n}-{:?}"}}"#, until);
        let token = post(client, url, source, body).await.expect("a healthy webhook is accepted");
        let status = ended(client, url, &token).await;
        assert_eq!(status.as_deref(), Some("completed"), "{source}");
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    longest
}

/// Posts so many hostile webhooks in any order, with a kill in between, and returns how long the slowest
/// healthy one took.
async fn survive(count: usize, restarts: usize) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("everhook.toml"), config()).unwrap();
    let bodies = bodies();
    let mut corpus: Vec<_> = (0..EXPRESSIONS.len())
        .flat_map(|expression| bodies.iter().map(move |body| (expression, body.clone())))
        .collect();
    assert!(corpus.len() >= 200);
    corpus.shuffle(&mut rand::rng());
    // Each expression at least once.
    corpus.sort_by_key(|(expression, _)| *expression);
    let each = corpus.len() / EXPRESSIONS.len();
    let mut corpus: Vec<_> =
        (0..each).flat_map(|nth| corpus.iter().skip(nth).step_by(each).cloned()).collect();
    corpus.truncate(count);

    let client = client();
    let mut server = start(folder.path());
    let (mut tokens, mut longest) = (Vec::new(), Duration::ZERO);
    for part in corpus.chunks(corpus.len().div_ceil(restarts + 1)) {
        let url = server.url.clone();
        let hostile = futures_util::stream::iter(part.iter().cloned())
            .map(|(expression, body)| {
                let (client, url) = (client.clone(), url.clone());
                async move {
                    let source = format!("hostile{expression}");
                    let token = post(&client, &url, &source, body).await?;
                    ended(&client, &url, &token).await;
                    Some(token)
                }
            })
            .buffer_unordered(3)
            .collect::<Vec<_>>();
        let until = Instant::now() + Duration::from_secs(2);
        let (posted, took) = tokio::join!(hostile, healthy(&client, &url, until));
        tokens.extend(posted.into_iter().flatten());
        longest = longest.max(took);
        assert!(server.is_running(), "the server ended");
        server.kill();
        server = start(folder.path());
    }
    for token in &tokens {
        let shown: ShownExecution = get(&client, format!("{}/status/{token}", server.url)).await;
        assert!(shown.status.is_terminal(), "{token} is {:?}", shown.status);
    }
    assert!(server.stop());
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_survives_bodies_that_size_the_work() {
    let longest = survive(EXPRESSIONS.len() * 2, 1).await;
    // Other tests run beside this one.
    assert!(longest < Duration::from_secs(5), "a healthy webhook took {longest:?}");
}

/// `just hostile-expressions`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_server_survives_the_whole_corpus_in_any_order() {
    let longest = survive(usize::MAX, 3).await;
    assert!(longest < Duration::from_secs(2), "a healthy webhook took {longest:?}");
}
