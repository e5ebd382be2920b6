use std::path::PathBuf;

use everhook_journal::config::Config;

use super::*;

/// What is wrong with a source that is configured like this.
fn problem(lines: &str) -> Option<(usize, String)> {
    let text = format!(
        "[sources.acme]\n{lines}\n[[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n"
    );
    let config = Config::parse(&text, PathBuf::new()).unwrap();
    let secrets = Secrets::pretending(PathBuf::new());
    let mut problems = Sources::from_config(&config, &secrets).err()?;
    problems.pop().map(|problem| (problem.line, problem.message))
}

#[track_caller]
fn assert_problem(lines: &str, line: usize, message: &str) {
    let (at, said) = problem(lines).expect("it is accepted");
    assert!(said.contains(message), "{said}");
    assert_eq!(at, line, "{said}");
}

const SECRETS: &str = "secrets = [\"generated:acme\"]";

#[test]
fn every_sender_can_be_configured_as_its_documentation_says() {
    for preset in crate::signature::preset::all() {
        let secrets = if preset.takes_secrets() { SECRETS } else { "" };
        let lines = preset.lines.join("\n").replace("env:", "generated:");
        let text = format!("scheme = \"{}\"\n{secrets}\n{lines}", preset.name);
        assert_eq!(problem(&text), None, "{}", preset.name);
    }
}

#[test]
fn a_recipe_is_written_out() {
    let recipe = format!(
        "scheme = \"recipe\"\n{SECRETS}\nheader = \"X-One\"\nseparator = \",\"\ntag = \"v1=\"\n\
         encoding = \"base64\"\nkey_encoding = \"text\"\nhash = \"sha512\"\n\
         signed = \"{{timestamp}}.{{method}}{{url}}{{header:x-id}}{{body}}\"\ntimestamp = \"entry:t\"\n\
         timestamp_unit = \"ms\"\ntolerance = \"1m\"\nid = \"header:x-id json:id\"\ntype = \"json:type\"\n\
         public_url = \"https://hooks.example.com/\""
    );
    assert_eq!(problem(&recipe), None);
}

#[test]
fn what_is_wrong_with_a_recipe_is_told_with_its_line() {
    let recipe = |more: &str| format!("scheme = \"recipe\"\n{SECRETS}\nheader = \"x-a\"\n{more}");
    assert_problem(&recipe("tga = \"v1=\""), 5, "did you mean `tag`?");
    assert_problem(&recipe("hash = \"md5\""), 5, "`hash` is one of \"sha1\"");
    assert_problem(&recipe("separator = \", \""), 5, "one character");
    assert_problem(&recipe("signed = \"{url}{body}\""), 1, "`public_url` is missing");
    assert_problem(&recipe("signed = \"{timestamp}\""), 1, "must contain {body}");
    assert_problem(&format!("scheme = \"recipe\"\n{SECRETS}"), 1, "`header` is missing");
}

#[test]
fn what_is_wrong_with_a_source_is_told_with_its_line() {
    assert_problem("", 1, "`scheme` is missing");
    assert_problem(&format!("scheme = \"githup\"\n{SECRETS}"), 2, "did you mean `github`?");
    assert_problem("scheme = \"github\"", 1, "`secrets` is missing");
    assert_problem("scheme = \"github\"\nsecrets = []", 1, "`secrets` is missing");
    assert_problem(
        &format!("scheme = \"github\"\n{SECRETS}\ntolerance = \"5m\""),
        4,
        "unknown key",
    );
    assert_problem(&format!("scheme = \"slack\"\n{SECRETS}\ntolerance = \"0s\""), 4, "between 1s");
    assert_problem(&format!("scheme = \"square\"\n{SECRETS}"), 1, "`public_url` is missing");
    let url = "public_url = \"hooks.example.com\"";
    assert_problem(
        &format!("scheme = \"square\"\n{SECRETS}\n{url}"),
        4,
        "must begin with https://",
    );
    let file = "secrets = [\"file:Cargo.toml\"]";
    assert_problem(&format!("scheme = \"discord\"\n{file}"), 3, "the application's public key");
    assert_problem("scheme = \"sns\"", 1, "`topics` is missing");
    assert_problem("scheme = \"paypal\"", 1, "`webhook_id` is missing");
    assert_problem(&format!("scheme = \"none\"\n{SECRETS}"), 3, "unknown key");
}
