//! Hosts of certificates that answer, hang, drip and lie. They are on this machine, under the senders' names.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const ROOT: &[u8] = include_bytes!("tests/root.pem");
const BETWEEN: &[u8] = include_bytes!("tests/between.pem");
const SERVER: &[u8] = include_bytes!("tests/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("tests/server.key");
const SNS: &[u8] = include_bytes!("tests/sns.pem");
const REGION: &[u8] = include_bytes!("tests/region.pem");
const PAYPAL: &[u8] = include_bytes!("tests/paypal.pem");
const STRANGER: &[u8] = include_bytes!("tests/stranger.pem");
const WRONG: &[u8] = include_bytes!("tests/wrong.pem");
const ISSUER: &[u8] = include_bytes!("tests/issuer.pem");
const EXPIRED: &[u8] = include_bytes!("tests/expired.pem");
const SELF_SIGNED: &[u8] = include_bytes!("tests/self.pem");

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn later(duration: Duration) -> Timestamp {
    NOW + duration
}

/// What a host does with each request.
#[derive(Clone)]
enum Does {
    Answers(Vec<u8>),
    Hangs,
    Drips,
}

/// A host under the senders' names, with a certificate that `Fetch` trusts.
struct Host {
    fetch: Arc<Fetch>,
    asked: Arc<AtomicUsize>,
}

impl Host {
    async fn start(does: Does) -> Self {
        environment::prepare_tls();
        let certificate = CertificateDer::from_pem_slice(SERVER).unwrap();
        let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, does, count) = (acceptor.clone(), does.clone(), count.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    count.fetch_add(1, Ordering::SeqCst);
                    let mut request = [0; 4096];
                    assert!(stream.read(&mut request).await? > 0);
                    match does {
                        Does::Answers(bytes) => stream.write_all(&bytes).await?,
                        Does::Hangs => tokio::time::sleep(Duration::from_secs(3600)).await,
                        Does::Drips => loop {
                            stream.write_all(b"H").await?;
                            stream.flush().await?;
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        },
                    }
                    stream.shutdown().await
                });
            }
        });
        Self { fetch: reaching(address).await, asked }
    }

    async fn serving(pem: &[u8]) -> Self {
        Self::start(Does::Answers(answer("200 OK", pem))).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Reaches this address under the senders' names, and trusts our root.
async fn reaching(address: SocketAddr) -> Arc<Fetch> {
    let root = reqwest::Certificate::from_pem(ROOT).unwrap();
    let client = builder()
        .no_proxy()
        .tls_certs_only([root])
        .resolve("sns.eu-central-1.amazonaws.com", address)
        .resolve("api.paypal.com", address)
        .build()
        .unwrap();
    let trust = Trust::with_root(CertificateDer::from_pem_slice(ROOT).unwrap());
    Arc::new(Fetch {
        client: OnceCell::new_with(Some(client)),
        trust: OnceCell::new_with(Some(trust)),
        ..Fetch::default()
    })
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn sns(path: &str) -> Served {
    Served {
        url: format!("https://sns.eu-central-1.amazonaws.com/{path}.pem"),
        names: vec!["sns.amazonaws.com".into(), "sns.eu-central-1.amazonaws.com".into()],
    }
}

fn paypal() -> Served {
    Served {
        url: "https://api.paypal.com/v1/notifications/certs/CERT-1".into(),
        names: vec!["messageverificationcerts.paypal.com".into()],
    }
}

#[tokio::test]
async fn a_certificate_is_fetched_once() {
    let host = Host::serving(SNS).await;
    let served = sns("a");
    let asks = (0..20).map(|_| host.fetch.certificate(&served, NOW));
    for given in futures_util::future::join_all(asks).await {
        assert_eq!(&*given.unwrap(), SNS);
    }
    host.fetch.certificate(&sns("a"), later(LIFE / 2)).await.unwrap();
    assert_eq!(host.asked(), 1);
    host.fetch.certificate(&sns("a"), later(LIFE)).await.unwrap();
    assert_eq!(host.asked(), 2);
}

#[tokio::test]
async fn a_host_that_lies_is_not_believed() {
    let page = answer("200 OK", b"<html>hello</html>");
    let huge = answer("200 OK", &[SNS.to_vec(), vec![b'\n'; BYTES_MAX]].concat());
    let moved =
        b"HTTP/1.1 302 Found\r\nlocation: https://sns.eu-central-1.amazonaws.com/b.pem\r\ncontent-length: 0\r\n\r\n";
    let key = answer("200 OK", SERVER_KEY);
    let broken = answer("200 OK", &SNS[..SNS.len() / 2]);
    let lies = [
        ("a page", page),
        ("too much", huge),
        ("a redirect", moved.to_vec()),
        ("a key", key),
        ("half of one", broken),
        ("nothing", answer("200 OK", b"")),
        ("not found", answer("404 Not Found", SNS)),
        ("forbidden", answer("403 Forbidden", SNS)),
        ("another name", answer("200 OK", WRONG)),
        ("another region's name", answer("200 OK", REGION)),
        ("expired", answer("200 OK", EXPIRED)),
        ("signed by itself", answer("200 OK", SELF_SIGNED)),
        ("one that issues others", answer("200 OK", ISSUER)),
        ("a chain that leads nowhere", answer("200 OK", &[STRANGER, BETWEEN].concat())),
        ("another one's chain", answer("200 OK", &[SELF_SIGNED, BETWEEN].concat())),
    ];
    for (what, lie) in lies {
        let host = Host::start(Does::Answers(lie)).await;
        let error = host.fetch.certificate(&sns("a"), NOW).await.expect_err(what);
        assert!(error.is_final(), "{what}: {error}");
        assert!(!error.to_string().contains("BEGIN"), "{what}: {error}");
        // The next forged request has nothing fetched.
        host.fetch.certificate(&sns("a"), later(LONG_PAUSE / 2)).await.expect_err(what);
        assert_eq!(host.asked(), 1, "{what}");
    }
}

#[tokio::test]
async fn trouble_of_a_host_is_no_lie() {
    for status in ["500 Oh", "503 Busy", "429 Too Many"] {
        let host = Host::start(Does::Answers(answer(status, b""))).await;
        let error = host.fetch.certificate(&sns("a"), NOW).await.unwrap_err();
        assert!(!error.is_final(), "{status}: {error}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = reaching(closed).await.certificate(&sns("a"), NOW).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
}

#[tokio::test]
async fn a_host_that_hangs_or_drips_is_left() {
    for does in [Does::Hangs, Does::Drips] {
        let host = Host::start(does).await;
        let began = std::time::Instant::now();
        let error = host.fetch.certificate(&sns("a"), NOW).await.unwrap_err();
        assert!(!error.is_final(), "{error}");
        assert!(began.elapsed() < WITHIN * 2, "{:?}", began.elapsed());
        host.fetch.certificate(&sns("a"), later(PAUSE / 2)).await.unwrap_err();
        assert_eq!(host.asked(), 1);
        drop(
            tokio::time::timeout(WITHIN / 10, host.fetch.certificate(&sns("a"), later(PAUSE)))
                .await,
        );
        assert_eq!(host.asked(), 2);
    }
}

#[tokio::test]
async fn whoever_hangs_up_has_asked() {
    let host = Host::serving(SNS).await;
    let served = sns("a");
    for _ in 0..3 {
        let hung_up = Duration::from_millis(1);
        drop(tokio::time::timeout(hung_up, host.fetch.certificate(&served, NOW)).await);
    }
    assert_eq!(&*host.fetch.certificate(&served, NOW).await.unwrap(), SNS);
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn a_known_certificate_waits_for_no_other() {
    let host = Host::start(Does::Hangs).await;
    let known = Address { since: NOW, given: Arc::default() };
    known.given.set(Ok(SNS.into())).unwrap();
    host.fetch.addresses.lock().unwrap().insert(sns("known").url, known);
    let forged: Vec<_> = (0..WAITING_MAX + 6).map(|at| sns(&format!("forged-{at}"))).collect();
    let mut all: futures_util::stream::FuturesUnordered<_> =
        forged.iter().map(|served| host.fetch.certificate(served, NOW)).collect();

    // As many as may wait do; those beyond are told at once.
    for _ in 0..6 {
        let refused = futures_util::StreamExt::next(&mut all).await.unwrap();
        assert!(matches!(refused, Err(FetchError::Busy)));
    }
    let served = sns("known");
    let known = host.fetch.certificate(&served, NOW);
    let known = tokio::time::timeout(Duration::from_millis(200), known);

    assert_eq!(&*known.await.unwrap().unwrap(), SNS);
    assert!(host.asked() <= FETCHES_MAX);
    assert!(host.fetch.addresses.lock().unwrap().len() <= ADDRESSES_MAX);
}

#[tokio::test]
async fn made_up_addresses_take_no_certificates_place() {
    let host = Host::serving(SNS).await;
    host.fetch.certificate(&sns("good"), NOW).await.unwrap();
    let other = Host::start(Does::Answers(answer("404 Not Found", b""))).await;
    let addresses = std::mem::take(&mut *host.fetch.addresses.lock().unwrap());
    *other.fetch.addresses.lock().unwrap() = addresses;
    for at in 0..ADDRESSES_MAX + 10 {
        other.fetch.certificate(&sns(&format!("forged-{at}")), later(PAUSE)).await.unwrap_err();
    }
    assert!(other.fetch.certificate(&sns("good"), later(PAUSE)).await.is_ok());
    assert_eq!(other.fetch.addresses.lock().unwrap().len(), ADDRESSES_MAX);
}

#[tokio::test]
async fn a_chain_that_paypal_serves_ends_at_a_root() {
    for served in [PAYPAL.to_vec(), [PAYPAL, BETWEEN].concat()] {
        let host = Host::serving(&served).await;
        assert!(host.fetch.certificate(&paypal(), NOW).await.is_ok());
    }
    for (what, served) in [
        ("another root's chain", [STRANGER, BETWEEN].concat()),
        ("another name", [SNS, BETWEEN].concat()),
    ] {
        let host = Host::serving(&served).await;
        let error = host.fetch.certificate(&paypal(), NOW).await.expect_err(what);
        assert!(error.is_final(), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_host_under_another_name_is_not_reached() {
    let host = Host::serving(SNS).await;
    let served = Served { url: "https://localhost/a.pem".into(), ..sns("a") };
    let error = host.fetch.certificate(&served, NOW).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
    assert_eq!(host.asked(), 0);
}

#[tokio::test]
async fn nothing_is_fetched_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fetch = reaching(listener.local_addr().unwrap()).await;
    assert!(fetch.get("http://sns.eu-central-1.amazonaws.com/a.pem").await.is_err());
    let reached = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(reached.is_err(), "{reached:?}");
}
