//! The data folder of a server: whose it is, and what the server does where it is damaged, incomplete or of another key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook::Steps;
use everhook::local::door::Limits;
use everhook::local::objects::collect;
use everhook::local::server::{Options, ServerError};
use everhook::local::{Engine, Server};
use everhook_journal::Timestamp;
use everhook_processor::steps::aws::Endpoints;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{PLAIN, World, client, delivery};

/// A source that anybody may send to.
const CONFIG: &str = r#"
    [sources.default]
    verify = "none"

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
"#;

/// After any time at which something is stored.
const FUTURE: Timestamp = Timestamp::from_millis(i64::MAX / 4);

/// A folder for a server, and the server.
struct Installed {
    folder: TempDir,
    listen: &'static str,
    new_keys: bool,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("everhook.toml"), CONFIG).unwrap();
        Self { folder, listen: "127.0.0.1:0", new_keys: false }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn start(&self) -> Result<Server, ServerError> {
        let options = Options {
            listen: self.listen.parse().unwrap(),
            data_dir: self.data(),
            in_memory: false,
            new_keys: self.new_keys,
            config: self.folder.path().join("everhook.toml"),
            dynamodb_endpoint: None,
            endpoints: Endpoints::default(),
            limits: Limits::default(),
        };
        Server::start(&options, Steps::new()).await
    }

    /// Lets a server record so many webhooks, and stops it.
    async fn used(&self, webhooks: usize) {
        let server = self.start().await.unwrap();
        let (client, url) = (client(), format!("http://{}/webhook", server.address));
        let body = |number| format!("{{\"n\": {number}, \"text\": \"{}\"}}", "x".repeat(500));
        let sent = (0..webhooks).map(|number| client.post(&url).body(body(number)).send());
        for sent in futures_util::future::join_all(sent).await {
            assert_eq!(sent.unwrap().status(), 202);
        }
        server.stop().await;
    }

    async fn refusal(&self) -> String {
        match self.start().await {
            Ok(server) => {
                server.stop().await;
                panic!("it started")
            }
            Err(error) => error.to_string(),
        }
    }
}

/// Sends a webhook and returns its token.
async fn send(server: &Server, body: &str) -> String {
    let url = format!("http://{}/webhook", server.address);
    let response = client().post(url).body(body.to_owned()).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    answer["executionToken"].as_str().unwrap().to_owned()
}

/// JSON that is too large for an event, however it is compressed.
fn large(seed: u64) -> String {
    let mut state = seed;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                [(state >> 40) as usize % 62],
        )
    });
    format!("{{\"noise\": \"{}\"}}", noise.take(80_000).collect::<String>())
}

/// All files and folders in a folder, and itself.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(tree(&path)),
            false => all.push(path),
        }
    }
    all
}

fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let is_open = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0;
    tree(folder).into_iter().filter(is_open).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_is_its_owners_alone_while_the_server_runs_and_after() {
    let installed = Installed::new();
    let server = installed.start().await.unwrap();
    send(&server, &large(1)).await;
    let positions = installed.data().join("processor-position.json");
    let began = Instant::now();
    while !positions.exists() && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }

    let files = tree(&installed.data());

    assert_eq!(open_to_others(&installed.data()), Vec::<PathBuf>::new());
    for name in ["tables.db-wal", "lock", "secrets", "payloads", "processor-position.json"] {
        assert!(files.iter().any(|path| path.ends_with(name)), "{name} is not among {files:?}");
    }
    server.stop().await;
    assert_eq!(open_to_others(&installed.data()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_folder_that_others_could_read_is_closed_at_the_start() {
    let installed = Installed::new();
    installed.used(1).await;
    fs::write(installed.data().join("tables.db.backup"), "").unwrap();
    for path in tree(&installed.data()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    installed.used(1).await;

    assert_eq!(open_to_others(&installed.data()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_is_not_made_anew() {
    for key in ["execution-key", "callback-key"] {
        let installed = Installed::new();
        installed.used(1).await;
        let file = installed.data().join("secrets").join(key);
        let before = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();

        let refusal = installed.refusal().await;

        assert!(refusal.contains(&format!("{key} is missing")), "{refusal}");
        assert!(refusal.contains("restore it") && refusal.contains("--new-keys"), "{refusal}");
        assert!(!file.exists());
        // Nothing is lost: with the key it goes on.
        fs::write(&file, before).unwrap();
        installed.used(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused_until_it_is_accepted() {
    let mut installed = Installed::new();
    installed.used(1).await;
    let file = installed.data().join("secrets/execution-key");
    fs::write(&file, "another key of the same deployment").unwrap();

    let refusal = installed.refusal().await;
    assert!(refusal.contains("not the one that the tables were made with"), "{refusal}");
    assert!(!refusal.contains("another key"), "{refusal}");

    installed.new_keys = true;
    installed.used(1).await;
    // From then on it is the key.
    installed.new_keys = false;
    installed.used(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_before_keys_were_known_learns_its_own() {
    let installed = Installed::new();
    let server = installed.start().await.unwrap();
    let token = send(&server, "{}").await;
    server.stop().await;
    let engine = everhook::local::Engine::on_disk(&installed.data()).unwrap();
    for purpose in ["key#execution", "key#callback"] {
        let key = aws_sdk_dynamodb::types::AttributeValue::S(purpose.into());
        let delete = engine.dynamodb().delete_item().table_name("executions");
        delete.key("execution", key).send().await.unwrap();
    }
    engine.close().await;

    let server = installed.start().await.unwrap();
    assert_eq!(send(&server, "{}").await, token);
    server.stop().await;

    fs::write(installed.data().join("secrets/execution-key"), "another key of 16 bytes").unwrap();
    assert!(installed.refusal().await.contains("not the one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tables_are_refused_with_what_to_do() {
    let installed = Installed::new();
    installed.used(60).await;
    installed.used(60).await;
    let tables = installed.data().join("tables.db");
    let whole = fs::read(&tables).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 50, "{pages} pages");
    let random =
        |page: usize| -> Vec<u8> { (0..4096).map(|n| (n * 7 + page * 13) as u8).collect() };
    let damages: [(&str, Vec<u8>); 5] = [
        ("pages of nonsense", {
            let mut damaged = whole.clone();
            for page in [pages / 4, pages / 2, pages * 3 / 4] {
                damaged[page * 4096..(page + 1) * 4096].copy_from_slice(&random(page));
            }
            damaged
        }),
        ("a page of zeros", {
            let mut damaged = whole.clone();
            damaged[pages / 2 * 4096..(pages / 2 + 1) * 4096].fill(0);
            damaged
        }),
        ("an end that is missing", whole[..pages / 2 * 4096].to_vec()),
        ("another beginning", {
            let mut damaged = whole.clone();
            damaged[..100].fill(b'x');
            damaged
        }),
        ("a page where another one was", {
            let mut damaged = whole.clone();
            damaged.copy_within(4096..2 * 4096, pages / 3 * 4096);
            damaged
        }),
    ];
    for (damage, bytes) in damages {
        fs::write(&tables, &bytes).unwrap();
        let refusal = installed.refusal().await;
        assert!(refusal.contains("are damaged"), "{damage}: {refusal}");
        assert!(refusal.contains("restore the folder from a backup"), "{damage}: {refusal}");
    }
    fs::write(&tables, &whole).unwrap();
    installed.used(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_gone_are_not_made_anew() {
    let installed = Installed::new();
    let server = installed.start().await.unwrap();
    send(&server, &large(1)).await;
    server.stop().await;
    let tables = installed.data().join("tables.db");
    let whole = fs::read(&tables).unwrap();
    fs::remove_file(&tables).unwrap();

    let refusal = installed.refusal().await;

    assert!(refusal.contains("its tables.db is missing"), "{refusal}");
    assert!(!tables.exists());
    // Nor are tables with nothing in them.
    fs::write(&tables, []).unwrap();
    let refusal = installed.refusal().await;
    assert!(refusal.contains("its tables.db is missing or empty"), "{refusal}");
    assert_eq!(fs::metadata(&tables).unwrap().len(), 0);
    let empty = tempfile::tempdir().unwrap();
    Engine::on_disk(empty.path()).unwrap().close().await;
    fs::copy(empty.path().join("tables.db"), &tables).unwrap();
    let refusal = installed.refusal().await;
    assert!(refusal.contains("its tables.db is missing or empty"), "{refusal}");
    fs::write(&tables, whole).unwrap();
    installed.used(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_removed_in_use_end_the_server_before_it_acknowledges_more() {
    for file in ["tables.db", "tables.db-wal"] {
        let installed = Installed::new();
        let server = installed.start().await.unwrap();
        send(&server, &large(1)).await;
        fs::rename(installed.data().join(file), installed.data().join("elsewhere")).unwrap();

        let posted = client().post(format!("http://{}/webhook", server.address)).body(large(2));
        let answer = posted.send().await;

        assert!(answer.is_err() || answer.unwrap().status() == 503, "{file} is gone");
        let failed = tokio::time::timeout(Duration::from_secs(10), server.failed());
        let failed = failed.await.expect("the server notices");
        assert!(failed.contains(file) && failed.contains("removed or replaced"), "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_no_history_names_are_removed_and_the_others_stay() {
    let installed = Installed::new();
    let server = installed.start().await.unwrap();
    let token = send(&server, &large(1)).await;
    let named = server.parts.ingest.payloads.stored_before(FUTURE).await.unwrap();
    for number in 2..5 {
        server.parts.ingest.payloads.keep(large(number).into()).await.unwrap();
    }

    // Those that may still be named by an append are left alone.
    assert_eq!(server.collect(Timestamp::from_millis(0)).await.unwrap(), 0);
    assert_eq!(server.collect(FUTURE).await.unwrap(), 3);
    assert_eq!(server.collect(FUTURE).await.unwrap(), 0);

    assert_eq!(server.parts.ingest.payloads.stored_before(FUTURE).await.unwrap(), named);
    let url = format!("http://{}/executions/{token}/body", server.address);
    assert_eq!(client().get(url).send().await.unwrap().text().await.unwrap(), large(1));
    server.stop().await;
}

#[tokio::test]
async fn no_object_is_removed_while_an_append_cannot_be_unpacked() {
    let world = World::start(PLAIN).await;
    let payloads = &world.parts.ingest.payloads;
    world.accepted(&delivery("d-1", &large(1))).await;
    payloads.keep(large(2).into()).await.unwrap();
    let client = world.engine.dynamodb();
    let key = || AttributeValue::S("AAAAAAAAAAAAAAAAAAAAAAAAAA".into());
    let first = || AttributeValue::N("1".into());
    let damaged = AttributeValue::B(Blob::new("damaged"));
    let put = client.put_item().table_name("journal").item("execution", key());
    put.item("sequence", first()).item("events", damaged).send().await.unwrap();

    let error = collect(&world.engine, payloads, FUTURE).await.unwrap_err();

    assert!(error.to_string().contains("cannot be read: damaged"), "{error}");
    assert_eq!(payloads.stored_before(FUTURE).await.unwrap().len(), 2);
    let delete = client.delete_item().table_name("journal").key("execution", key());
    delete.key("sequence", first()).send().await.unwrap();
    assert_eq!(collect(&world.engine, payloads, FUTURE).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unspecified_address_of_ipv6_answers_operators_over_both() {
    let installed = Installed { listen: "[::]:0", ..Installed::new() };
    let server = match installed.start().await {
        Err(ServerError::Listen { source, .. }) => {
            println!("skipped: this machine has no IPv6 ({source})");
            return;
        }
        started => started.unwrap(),
    };
    let port = server.address.port();
    let mut hosts = vec!["127.0.0.1"];
    if tokio::net::TcpStream::connect(format!("[::1]:{port}")).await.is_ok() {
        hosts.push("[::1]");
    }
    for host in hosts {
        let response = client().get(format!("http://{host}:{port}/executions")).send().await;
        assert_eq!(response.unwrap().status(), 200, "{host}");
    }
    server.stop().await;
}

/// A server as it is installed, which is killed in the end.
struct Binary(Child);

impl Drop for Binary {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_is_logged_and_ends_nothing() {
    let installed = Installed::new();
    let log = installed.folder.path().join("log");
    let child = Command::new(env!("CARGO_BIN_EXE_everhook"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(installed.data())
        .arg("--config")
        .arg(installed.folder.path().join("everhook.toml"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut binary = Binary(child);
    let signal = |name: &str| {
        let id = binary.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    };
    let until = async |condition: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !condition() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{}",
                fs::read_to_string(&log).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(&|| installed.data().join("secrets/callback-key").exists()).await;

    signal("HUP");
    until(&|| fs::read_to_string(&log).unwrap().contains("SIGHUP is ignored")).await;
    signal("TERM");

    let status = tokio::task::block_in_place(|| binary.0.wait().unwrap());
    assert!(status.success(), "{status}");
}
