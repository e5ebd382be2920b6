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

#[test]
fn what_could_be_made_of_another_body_must_be_json() {
    let recipe = |more: &str| {
        format!("scheme = \"recipe\"\n{SECRETS}\nheader = \"x-a\"\nexpect = \"any\"\n{more}")
    };
    let url = "public_url = \"https://hooks.example.com/\"";
    for (section, why) in [
        (recipe("hash = \"plain-sha256\""), "can add to its end"),
        (recipe("signed = \"{header:x-id}.{body}\""), "could pass for the other"),
        (recipe(&format!("signed = \"{{url}}{{body}}\"\n{url}")), "could pass for the other"),
        (format!("scheme = \"hubspot-v1\"\n{SECRETS}\nexpect = \"any\""), "can add to its end"),
        (format!("scheme = \"trello\"\n{SECRETS}\n{url}\nexpect = \"any\""), "could pass"),
    ] {
        let (_, said) = problem(&section).expect(&section);
        assert!(
            said.contains("`expect = \"any\"` is not safe here") && said.contains(why),
            "{said}"
        );
        assert_eq!(problem(&section.replace("expect = \"any\"", "expect = \"json\"")), None);
    }
    for fine in ["", "signed = \"v0:{timestamp}:{body}\"\ntimestamp = \"header:x-time\""] {
        assert_eq!(problem(&recipe(fine)), None, "{fine}");
    }
}

#[test]
fn only_the_signature_says_what_the_items_are() {
    let topics = "topics = [\"arn:aws:sns:eu-central-1:123456789012:orders\"]";
    for section in [
        format!("scheme = \"sns\"\n{topics}"),
        format!("scheme = \"adyen-item\"\n{SECRETS}"),
        format!("scheme = \"msgraph\"\n{SECRETS}"),
    ] {
        assert_problem(&format!("{section}\nitems = \"/other\""), 4, "unknown key `items`");
    }
}

#[test]
fn a_content_encoding_that_is_one_is_refused() {
    let with =
        |word: &str| format!("scheme = \"github\"\n{SECRETS}\ncontent_encoding = \"{word}\"");
    assert_eq!(problem(&with("UTF-8")), None);
    assert_problem(&with("gzip"), 4, "are not decoded");
    assert_problem(&with("a, b"), 4, "must be one word");
}

#[test]
fn a_padded_secret_is_warned_of_without_its_value() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("padded"), "a canary of mine \n").unwrap();
    std::fs::write(folder.path().join("plain"), "a canary of mine\n").unwrap();
    let text = "[sources.acme]\nscheme = \"github\"\nsecrets = [\"file:plain\", \"file:padded\"]\n\
                [[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n";
    let config = Config::parse(text, folder.path().to_owned()).unwrap();

    let warnings = Sources::warnings(&config, &Secrets::pretending(folder.path().to_owned()));

    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(
        warning.starts_with("source acme: file:padded begins or ends with a blank"),
        "{warning}"
    );
    assert!(!warning.contains("canary"));
}

#[test]
fn a_topic_that_nothing_can_prove_is_warned_of() {
    let text = "[sources.acme]\nscheme = \"sns\"\n\
                topics = [\"arn:aws:sns:s3:123456789012:a\", \"arn:aws:sns:eu-west-1:123456789012:a\"]\n\
                [[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n";
    let config = Config::parse(text, PathBuf::new()).unwrap();

    let warnings = Sources::warnings(&config, &Secrets::pretending(PathBuf::new()));

    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.contains("arn:aws:sns:s3:123456789012:a is no ARN of a topic"), "{warning}");
}
