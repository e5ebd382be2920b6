//! What strangers send, as the commands print it: nothing of it controls a terminal or passes for a line of ours.

use std::process::Command;

use everhook::local::door::Limits;
use serde_json::{Value, json};

use crate::standing::Standing;

/// A source whose events name their types and ids in the body, and a step that fails in its words.
const CONFIG: &str = r#"
    [sources.default]
    scheme = "recipe"
    header = "X-Ticket"
    hash = "token"
    secrets = ["file:ticket"]
    id = "json:id"
    type = "json:type"

    [[workflows.default.steps]]
    name = "fail"
    run = "transform"
    jq = "error(.type)"

    [[workflows.default.steps]]
    name = "never"
    run = "validate"
"#;

/// What terminals understand, and what only looks like something of ours.
const HOSTILE: [&str; 6] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31mred",
    "opened\nAAAAAAAAAAAAAAAAAAAAAAAAAA  completed",
    "a\rAAAA  completed",
    "\u{202e}gnp.exe",
    "bell\u{7}back\u{8}\u{7f}",
];

fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)
}

async fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_printed_controls_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let ticket = folder.path().join("ticket");
    std::fs::write(&ticket, "a ticket of 16 bytes").unwrap();
    let config = CONFIG.replace("file:ticket", &format!("file:{}", ticket.display()));
    let standing = Standing::start(&config, Limits::default()).await;
    let mut tokens = Vec::new();
    for text in HOSTILE {
        let body = json!({ "id": text, "type": text, text: 1 }).to_string();
        let request = standing.client.post(standing.url("/webhook"));
        let response = request.header("x-ticket", "a ticket of 16 bytes").body(body).send().await;
        let answer: Value = serde_json::from_str(&response.unwrap().text().await.unwrap()).unwrap();
        let token = answer["executionToken"].as_str().unwrap().to_owned();
        assert_eq!(standing.ended(&token).await["status"], "failed");
        tokens.push(token);
    }
    let server = format!("http://{}", standing.server.address);
    let at = ["--server", server.as_str()];

    let list = printed(&["list", at[0], at[1]]).await;
    assert_eq!(list.lines().count(), HOSTILE.len(), "a line for each: {list:?}");
    let mut all = vec![list];
    for (token, text) in tokens.iter().zip(HOSTILE) {
        all.push(printed(&["replay", token, at[0], at[1]]).await);
        assert!(all.last().unwrap().lines().all(|line| !line.starts_with("AAAA")));
        for json in [["status", token].as_slice(), &["replay", token, "--json"]] {
            let told = printed(&[json, &at].concat()).await;
            let value: Value = serde_json::from_str(&told).unwrap();
            assert!(value.to_string().contains(&json!(text).to_string()), "it means the same");
            all.push(told);
        }
        all.push(printed(&["cancel", token, "--reason", text, at[0], at[1]]).await);
        all.push(printed(&["status", text, at[0], at[1]]).await);
    }
    all.push(printed(&["redrive", "--failed", "--dry-run", at[0], at[1]]).await);
    all.push(printed(&["list", "--json", at[0], at[1]]).await);
    for told in all {
        assert!(!told.chars().any(is_hidden), "{told:?}");
    }
    standing.server.stop().await;
}
