//! The connections of all `http` steps.

use std::sync::OnceLock;
use std::time::Duration;

use everhook_journal::environment;
use reqwest::Client;
use reqwest::redirect::Policy;

use crate::destination::Resolver;

/// How long it may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many idle connections to one host are kept.
const IDLE_CONNECTIONS_MAX: usize = 16;

/// How long an idle connection is kept: shorter than most servers do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many headers an answer may have. One with more is no answer, and a call without an answer is made again.
const HEADERS_MAX: usize = 1_000;

/// How many bytes of headers an answer may have by HTTP/2.
const HEADERS_BYTES_MAX: u32 = 256 * 1024;

/// The connections of all `http` steps.
#[derive(Debug, Default)]
pub struct Clients {
    pair: OnceLock<Pair>,
    resolver: Resolver,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) public: Client,
    pub(super) anywhere: Client,
}

impl Clients {
    #[cfg(test)]
    pub(crate) fn resolving(resolver: Resolver) -> Self {
        Self { resolver, ..Self::default() }
    }

    // Reading the machine's certificates takes a while: it is done once, and only where something is called.
    pub(super) fn get(&self) -> Result<&Pair, reqwest::Error> {
        if let Some(pair) = self.pair.get() {
            return Ok(pair);
        }
        environment::prepare_tls();
        let client = || {
            Client::builder()
                .user_agent(concat!("everhook/", env!("CARGO_PKG_VERSION")))
                .redirect(Policy::none())
                .referer(false)
                .no_proxy()
                .http1_max_headers(HEADERS_MAX)
                .http2_max_header_list_size(HEADERS_BYTES_MAX)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        };
        let public = client().dns_resolver(self.resolver.clone()).build()?;
        let anywhere = client().build()?;
        Ok(self.pair.get_or_init(|| Pair { public, anywhere }))
    }
}
