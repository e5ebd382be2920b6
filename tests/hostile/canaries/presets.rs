//! Every sender's secret, as its requests carry it: nothing that is kept or printed has it.

use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64, HEXLOWER};
use everhook::Steps;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook::local::{Engine, Server};
use everhook_ingest::Sources;
use everhook_ingest::signature::Preset;
use everhook_ingest::signature::preset::all;
use everhook_journal::config::Config;
use everhook_journal::{Secrets, SourceName, Timestamp, packed};
use everhook_processor::steps::aws::Endpoints;
use serde_json::Value;

use super::Markers;
use crate::world::client;

/// Senders with a secret of their own form, beside those of the table: name, scheme and further lines.
const OWN: [(&str, &str, &str); 8] = [
    ("bearer-own", "bearer", "header = \"X-Acme\""),
    ("bearer-bare", "bearer", "header = \"X-Anything\"\ntag = \"\""),
    ("basic-own", "basic", "header = \"X-Login\""),
    ("token", "recipe", "header = \"X-Acme-Ticket\"\nhash = \"token\""),
    ("token-base64", "recipe", "header = \"X-B\"\nhash = \"token\"\nencoding = \"base64\""),
    ("token-hex", "recipe", "header = \"X-H\"\nhash = \"token\"\nencoding = \"hex\""),
    ("token-tagged", "recipe", "header = \"Authorisation\"\nhash = \"token\"\ntag = \"Ticket \""),
    ("token-two", "recipe", "header = [\"X-One\", \"X-Two\"]\nhash = \"token\""),
];

/// Where a workflow shows all that an expression can reach.
const WORKFLOW: &str = "
    [[workflows.default.steps]]
    name = \"show\"
    run = \"transform\"
    jq = \"$webhook\"
";

/// A source's section, if this machine can sign for it: the secret in the first form that the scheme takes.
fn section(folder: &Path, name: &str, preset: &Preset, more: &str, marker: &str) -> Option<String> {
    if !preset.takes_secrets() {
        return None;
    }
    let forms = [
        marker.to_owned(),
        format!("whsec_{}", BASE64.encode(marker.as_bytes())),
        format!("name:{marker}"),
        BASE64.encode(marker.as_bytes()),
        HEXLOWER.encode(marker.as_bytes()),
    ];
    let url = "public_url = \"https://hooks.example.com/webhook\"";
    let first = if preset.name == "basic" { 2 } else { 0 };
    let tried = forms.iter().skip(first).flat_map(|form| [(form, ""), (form, url)]);
    for (form, url) in tried {
        std::fs::write(folder.join(name), form).unwrap();
        let scheme = preset.name;
        let section = format!(
            "[sources.{name}]\nscheme = \"{scheme}\"\nsecrets = [\"file:{name}\"]\nexpect = \"any\"\n{more}\n{url}\n"
        );
        if let Some(sources) = sources(folder, &section)
            && sources.find(&SourceName::new(name)).scheme.can_sign()
        {
            return Some(section);
        }
    }
    None
}

fn sources(folder: &Path, sections: &str) -> Option<Sources> {
    let config = Config::parse(&format!("{sections}{WORKFLOW}"), folder.to_owned()).ok()?;
    Sources::from_config(&config, &Secrets::new(folder.to_owned(), None)).ok()
}

/// All bytes of all files in a folder, with their names.
pub(super) fn files(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                all.push((
                    path.display().to_string(),
                    String::from_utf8_lossy(&bytes).into_owned(),
                ));
            }
        }
    }
    all
}

async fn printed(arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (format!("`everhook {}`", arguments[0]), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_senders_secret_is_kept_or_printed() {
    let markers = Markers::new();
    let marker = markers.text("source secret");
    let folder = tempfile::tempdir().unwrap();
    let of_table = all().map(|preset| {
        (
            preset.name,
            preset,
            match preset.name {
                "recipe" => "header = \"X-Acme-Signature\"",
                _ => "",
            },
        )
    });
    let own = OWN.iter().map(|(name, scheme, more)| {
        (*name, all().find(|preset| preset.name == *scheme).unwrap(), *more)
    });
    let mut sections = Vec::new();
    for (name, preset, more) in of_table.chain(own) {
        let section = section(folder.path(), name, preset, more, marker);
        sections.extend(section.map(|section| (name, section)));
    }
    let names: Vec<_> = sections.iter().map(|(name, _)| *name).collect();
    assert!(OWN.iter().all(|(name, ..)| names.contains(name)), "{names:?}");
    assert!(names.len() >= 30, "{names:?}");
    let all: String = sections.iter().map(|(_, section)| section.as_str()).collect();
    let sources = sources(folder.path(), &all).unwrap();
    let toml = folder.path().join("everhook.toml");
    std::fs::write(&toml, format!("{all}{WORKFLOW}")).unwrap();
    let data = folder.path().join("data");
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: data.clone(),
        in_memory: false,
        new_keys: false,
        config: toml.clone(),
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    let server = Server::start(&options, Steps::new()).await.unwrap();
    let url = format!("http://{}", server.address);
    let client = client();
    let mut told = Vec::new();
    let mut tokens = Vec::new();
    let mut refused = Vec::new();
    let secret = markers.secrets().into_iter().find(|it| it.text == marker).unwrap();
    for (name, section) in &sections {
        let scheme = &sources.find(&SourceName::new(*name)).scheme;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Timestamp::from_millis(now.as_millis() as i64);
        let headers = scheme.sign("d-1", Some("a.type"), b"{\"n\":1}", now);
        // What carries a credential by its name, whatever the scheme.
        let query = match section.contains("public_url") {
            true => String::new(),
            false => format!("?a=1&token={marker}&API_key={marker}&sig={marker}"),
        };
        let request = client.post(format!("{url}/webhook/{name}{query}"));
        let request = request.header("proxy-authorization", marker).header("cookie", marker);
        let request = headers.iter().fold(request, |it, (name, value)| it.header(name, value));
        let response = request.body("{\"n\":1}").send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        // Some sign a time in the body, which this one does not have.
        if status == 401 && headers.iter().all(|(_, value)| secret.found_in(value).is_none()) {
            refused.push(name);
            continue;
        }
        assert_eq!(status, 202, "{name}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        tokens.push((*name, answer["executionToken"].as_str().unwrap().to_owned()));
        told.push((format!("the answer to {name}"), text));
    }
    assert!(refused.len() <= 3, "{refused:?}");
    for (name, token) in &tokens {
        for what in ["events", "body"] {
            let history = client.get(format!("{url}/executions/{token}/{what}")).send().await;
            let text = history.unwrap().text().await.unwrap();
            told.push((format!("the {what} of {name}"), text));
        }
    }
    let at = ["--server", url.as_str()];
    let config = ["--config", toml.to_str().unwrap()];
    told.push(printed(&["status", &tokens[0].1, "--wait", at[0], at[1]]).await);
    told.push(printed(&["list", "--limit", "1000", at[0], at[1]]).await);
    told.push(printed(&["list", "--json", at[0], at[1]]).await);
    told.push(printed(&["replay", "--json", &tokens[0].1, at[0], at[1]]).await);
    told.push(printed(&["verify", "--all", config[0], config[1], at[0], at[1]]).await);
    told.push(printed(&["sources", config[0], config[1], at[0], at[1]]).await);
    told.push(printed(&["check", "--explain", config[0], config[1]]).await);
    told.extend(files(&data));
    server.stop().await;
    told.extend(files(&data));
    let engine = Engine::on_disk(&data).unwrap();
    for table in ["journal", "executions"] {
        let items = engine.dynamodb().scan().table_name(table).send().await.unwrap().items;
        for item in items.unwrap_or_default() {
            let packed = item.values().filter_map(|value| value.as_b().ok());
            let unpacked = packed.map(|bytes| packed::unpack(bytes.as_ref()).unwrap());
            let unpacked = unpacked.map(|json| String::from_utf8(json).unwrap());
            told.extend(unpacked.map(|json| (format!("what the table {table} packs"), json)));
            told.push((format!("the table {table}"), format!("{item:?}")));
        }
    }
    engine.close().await;

    // A word that is kept shows that the search finds what is there.
    for table in ["journal", "executions"] {
        let place = format!("what the table {table} packs");
        assert!(told.iter().any(|(told, text)| *told == place && text.contains("a.type")));
    }
    let found: Vec<_> = told
        .iter()
        .filter_map(|(place, text)| Some(format!("{place}: …{}…", secret.found_in(text)?)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
