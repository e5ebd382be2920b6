//! Names, resolved to public addresses once for each connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Refused, is_public};

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves names to public addresses. The call goes to exactly these: a name that is resolved twice
/// could be public when it is checked and private when it is called.
#[derive(Clone)]
pub struct Resolver {
    lookup: Arc<dyn Fn(String) -> Found + Send + Sync>,
    is_public: fn(IpAddr) -> bool,
}

/// Asks the system, and takes what is public for everybody.
impl Default for Resolver {
    fn default() -> Self {
        let lookup = |name: String| -> Found {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        };
        Self { lookup: Arc::new(lookup), is_public }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = (resolver.lookup)(name.as_str().to_owned()).await?;
            // One that is not public refuses the name: whoever answers so means no good.
            if !found.iter().all(|address| (resolver.is_public)(address.ip())) {
                return Err(Refused::NotPublic(name.as_str().to_owned()).into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
