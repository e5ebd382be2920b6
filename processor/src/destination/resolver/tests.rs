use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use everhook_journal::Secrets;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::destination::PrivateHosts;
use crate::step::{Step, StepError};
use crate::steps::http::{Clients, Http};
use crate::steps::tests::{definition, input};

const NAMES: &str = include_str!("names.txt");

/// A resolver whose answers are given, the last one for ever, and how often it was asked.
#[derive(Default)]
struct Answers {
    given: Mutex<Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Answers {
    fn new(given: &[&[&str]]) -> Arc<Self> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        let given = given.iter().map(|answer| answer.iter().map(address).collect()).collect();
        Arc::new(Self { given: Mutex::new(given), ..Self::default() })
    }

    fn clients(self: &Arc<Self>, is_public: fn(IpAddr) -> bool) -> Arc<Clients> {
        let answers = Arc::clone(self);
        let lookup = move |_| -> Found {
            answers.asked.fetch_add(1, Ordering::SeqCst);
            let mut given = answers.given.lock().unwrap();
            let answer = if given.len() > 1 { given.remove(0) } else { given[0].clone() };
            Box::pin(async move { Ok(answer) })
        };
        Arc::new(Clients::resolving(Resolver { lookup: Arc::new(lookup), is_public }))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A step that calls this name, as a workflow makes it.
fn step(name: &str, port: u16, clients: &Arc<Clients>) -> Http {
    let definition = definition("http", json!({ "url": format!("https://{name}:{port}/") }));
    Http::new(&definition, &PrivateHosts::default(), clients, &Secrets::default()).unwrap()
}

/// A port of this machine, and how often somebody connected to it.
async fn listening() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, connections) =
        (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, connections)
}

fn connected(connections: &AtomicUsize) -> usize {
    connections.load(Ordering::SeqCst)
}

fn refused(name: &str) -> StepError {
    StepError::fatal("refused", Refused::NotPublic(name.to_owned()).to_string())
}

#[tokio::test]
async fn a_name_that_leads_to_any_private_address_is_never_connected_to() {
    let (port, connections) = listening().await;
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let lookup = move |name: String| -> Found {
        counted.fetch_add(1, Ordering::SeqCst);
        let line = NAMES.lines().find_map(|line| line.strip_prefix(name.as_str())).unwrap();
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let found = line.split_whitespace().map(address).collect();
        Box::pin(async move { Ok(found) })
    };
    let clients = Arc::new(Clients::resolving(Resolver { lookup: Arc::new(lookup), is_public }));
    let names = NAMES.lines().filter(|line| !line.starts_with('#'));
    for (number, line) in names.enumerate() {
        let name = line.split(' ').next().unwrap();

        let failed = step(name, port, &clients).run(input("{}")).await;

        assert_eq!(failed.unwrap_err(), refused(name), "{line}");
        assert_eq!((asked.load(Ordering::SeqCst), connected(&connections)), (number + 1, 0));
    }
}

#[tokio::test]
async fn a_link_local_address_of_one_zone_is_no_more_public() {
    let (port, connections) = listening().await;
    let answers = Answers::new(&[&[]]);
    let zoned = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 1);
    answers.given.lock().unwrap()[0] = vec![zoned.into()];

    let failed = step("zoned.example", port, &answers.clients(is_public)).run(input("{}")).await;

    assert_eq!(failed.unwrap_err(), refused("zoned.example"));
    assert_eq!(connected(&connections), 0);
}

/// Here one address of this machine counts as public, so that nothing leaves it.
fn is_this(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1])
}

#[tokio::test]
async fn what_was_checked_is_what_is_connected_to() {
    let (port, connections) = listening().await;
    let answers = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let step = step("rebinding.example", port, &answers.clients(is_this));

    // It is nothing that speaks TLS, but it was connected to.
    let failed = step.run(input("{}")).await.unwrap_err();
    assert_eq!((failed.kind.as_str(), failed.retryable), ("connect", true));
    assert_eq!((answers.asked(), connected(&connections)), (1, 1));

    // The next attempt resolves anew and is judged anew.
    assert_eq!(step.run(input("{}")).await.unwrap_err(), refused("rebinding.example"));
    assert_eq!((answers.asked(), connected(&connections)), (2, 1));
}

#[tokio::test]
async fn a_public_address_does_not_excuse_a_private_one() {
    let (port, connections) = listening().await;
    for both in [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]] {
        let answers = Answers::new(&[&both]);
        let failed = step("both.example", port, &answers.clients(is_this)).run(input("{}")).await;
        assert_eq!(failed.unwrap_err(), refused("both.example"));
    }
    assert_eq!(connected(&connections), 0);
}

#[tokio::test]
async fn no_address_at_all_is_worth_another_attempt() {
    let answers = Answers::new(&[&[]]);
    let failed = step("nowhere.example", 443, &answers.clients(is_public)).run(input("{}")).await;
    assert_eq!(failed.unwrap_err().kind, "connect");
}

#[tokio::test]
async fn the_system_is_asked_and_its_answers_judged() {
    let refused = Resolver::default().resolve("localhost".parse().unwrap()).await.err().unwrap();
    let refused = refused.downcast_ref::<Refused>();
    assert_eq!(refused, Some(&Refused::NotPublic("localhost".into())));
}
