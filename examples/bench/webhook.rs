//! What is sent: a body like GitHub's for a push, signed as the source `default` wants it.

use std::io;
use std::path::Path;

use everhook_ingest::Sources;
use everhook_journal::Secrets;
use everhook_journal::config::Config;
use everhook_journal::{Clock, SourceName};
use serde_json::{Value, json};

/// The configuration that is measured.
pub(crate) const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/everhook.toml");

/// How many commits make a body of the usual size.
const COMMITS: u64 = 6;

/// Where a commit's hash comes in the body's text.
const HASH: &str = "<hash>";

/// A sender whose webhooks the server verifies.
pub(crate) struct Sender {
    sources: Sources,
    name: SourceName,
    host: String,
    body: Body,
}

/// The text of a body between the hashes: making it anew for each webhook would cost as much as sending it.
pub(crate) struct Body(Vec<String>);

impl Sender {
    /// The sender that shares the server's generated secret.
    pub(crate) fn new(data_dir: &Path, host: &str) -> io::Result<Self> {
        let config = Config::load(Path::new(CONFIG)).map_err(io::Error::other)?;
        let secrets = Secrets::new(config.folder.clone(), Some(data_dir.join("secrets")));
        let sources = Sources::from_config(&config, &secrets)
            .map_err(|problems| io::Error::other(format!("{problems:?}")))?;
        let name = SourceName::new("default");
        Ok(Self { sources, name, host: host.to_owned(), body: Body::new() })
    }

    /// A whole HTTP request: the webhook with this number, which makes its id and body unique.
    pub(crate) fn request(&self, number: u64) -> Vec<u8> {
        let body = self.body.number(number);
        let scheme = &self.sources.find(&self.name).scheme;
        let id = format!("bench-{number}");
        let mut request = format!(
            "POST /webhook HTTP/1.1\r\nhost: {}\r\nuser-agent: GitHub-Hookshot/bench\r\n\
             content-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n",
            self.host,
            body.len(),
        );
        for (name, value) in scheme.sign(&id, Some("push"), &body, Clock::System.now()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend(body);
        request
    }
}

impl Body {
    /// What all bodies have in common.
    pub(crate) fn new() -> Self {
        let commits: Vec<_> = (0..COMMITS).map(commit).collect();
        let push = json!({
            "ref": "refs/heads/main",
            "before": HASH,
            "after": HASH,
            "repository": repository(),
            "pusher": { "name": "octocat", "email": "octocat@example.com" },
            "sender": user("octocat", 583_231),
            "created": false,
            "deleted": false,
            "forced": false,
            "base_ref": null,
            "compare": format!("https://github.com/example/shop/compare/{HASH}...{HASH}"),
            "head_commit": commits.last(),
            "commits": commits,
        });
        Self(push.to_string().split(HASH).map(str::to_owned).collect())
    }

    /// The body with this number. Its hashes are its own, so that it compresses as a real one does.
    pub(crate) fn number(&self, number: u64) -> Vec<u8> {
        let mut hashes = Hashes(number);
        let mut body = String::new();
        for (index, text) in self.0.iter().enumerate() {
            if index > 0 {
                body.push_str(&hashes.next());
            }
            body.push_str(text);
        }
        body.into_bytes()
    }
}

fn commit(index: u64) -> Value {
    let author = json!({ "name": "Mona Lisa Octocat", "email": "octocat@example.com", "username": "octocat" });
    json!({
        "id": HASH,
        "tree_id": HASH,
        "distinct": true,
        "message": format!("Checkout: keep the cart over a failed payment ({index})\n\nThe retry lost it."),
        "timestamp": "2026-11-24T12:00:00+01:00",
        "url": format!("https://github.com/example/shop/commit/{HASH}"),
        "author": author,
        "committer": author,
        "added": [format!("src/checkout/retry_{index}.rs")],
        "removed": [],
        "modified": ["src/checkout/cart.rs", "src/checkout/payment.rs", "tests/checkout.rs"],
    })
}

fn repository() -> Value {
    let url = "https://api.github.com/repos/example/shop";
    let mut repository = json!({
        "id": 186_853_002, "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=", "name": "shop",
        "full_name": "example/shop", "private": true, "owner": user("example", 21_031_067),
        "html_url": "https://github.com/example/shop", "description": "The shop", "fork": false,
        "default_branch": "main", "language": "Rust", "size": 48_213, "stargazers_count": 3,
        "open_issues_count": 42, "pushed_at": 1_795_518_000, "visibility": "private",
    });
    let links = [
        "forks",
        "keys",
        "collaborators",
        "teams",
        "hooks",
        "events",
        "assignees",
        "branches",
        "tags",
        "blobs",
        "trees",
        "statuses",
        "languages",
        "stargazers",
        "contributors",
        "subscribers",
        "commits",
        "comments",
        "contents",
        "compare",
        "merges",
        "archive",
        "downloads",
        "issues",
        "pulls",
        "milestones",
        "labels",
        "releases",
        "deployments",
    ];
    for link in links {
        repository[format!("{link}_url")] = json!(format!("{url}/{link}{{/number}}"));
    }
    repository
}

fn user(login: &str, id: u64) -> Value {
    let url = format!("https://api.github.com/users/{login}");
    json!({
        "login": login, "id": id, "type": "User", "site_admin": false, "url": url,
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "html_url": format!("https://github.com/{login}"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "organizations_url": format!("{url}/orgs"),
    })
}

/// Things that look like commit hashes: nobody's secret, only unlike one another.
struct Hashes(u64);

impl Hashes {
    fn next(&mut self) -> String {
        let words: Vec<_> = (0..5).map(|_| format!("{:08x}", self.word())).collect();
        words.concat()
    }

    // SplitMix64, the upper half.
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) >> 32
    }
}
