//! Which addresses an `http` step may call: public ones, and those that the configuration names.
//!
//! Without this a definition could reach what only this process can: the Lambda runtime on loopback,
//! which hands out other webhooks, the instance's credentials, the services of a private network.

mod resolver;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::Url;

pub use resolver::Resolver;

/// IPv4 networks that are not public, by the IANA registry of special-purpose addresses.
const NOT_PUBLIC_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),          // this network
    ([10, 0, 0, 0], 8),         // private
    ([100, 64, 0, 0], 10),      // carrier-grade NAT
    ([127, 0, 0, 0], 8),        // loopback
    ([168, 63, 129, 16], 32),   // Azure's host
    ([169, 254, 0, 0], 16),     // link-local: credentials of instances and containers
    ([172, 16, 0, 0], 12),      // private
    ([192, 0, 0, 0], 24),       // protocol assignments
    ([192, 0, 2, 0], 24),       // documentation
    ([192, 88, 99, 0], 24),     // 6to4 relays
    ([192, 168, 0, 0], 16),     // private
    ([198, 18, 0, 0], 15),      // benchmarks
    ([198, 51, 100, 0], 24),    // documentation
    ([203, 0, 113, 0], 24),     // documentation
    ([224, 0, 0, 0], 4),        // multicast
    ([240, 0, 0, 0], 4),        // reserved
    ([255, 255, 255, 255], 32), // broadcast
];

/// The one IPv6 network that is public. Outside of it are loopback, private, link-local and multicast
/// addresses, and those that carry an IPv4 address: mapped, compatible, NAT64.
const PUBLIC_V6: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is not public inside of [`PUBLIC_V6`].
const NOT_PUBLIC_V6: [([u16; 8], u32); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments, Teredo
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

/// Domains whose names never are public.
const PRIVATE_DOMAINS: [&str; 9] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "home.arpa",
    "home",
    "corp",
    "lan",
];

/// Below are the ports of what is not the web: mail, shells, names.
const PORT_MIN: u16 = 1024;

/// The one port below that is the web's.
const HTTPS: u16 = 443;

/// The hosts that may be called although they are not public. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct PrivateHosts(Arc<[(String, Option<u16>)]>);

/// How far a call may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Wherever the name leads: the configuration names this host.
    Anywhere,
}

/// Why an address may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is something else than `https` or `http`.
    #[error("a destination begins with https://")]
    Scheme,
    /// It names a user or a password.
    #[error("a destination has no user and no password in it; use a header")]
    Userinfo,
    /// It is not encrypted, and nobody said that it need not be.
    #[error("the destination {0} must be called by https; name it in private_hosts to allow http")]
    NotEncrypted(String),
    /// Something else than the web is at this port.
    #[error("the port {1} of {0} is not one of the web's; name it in private_hosts to allow it")]
    Port(String, u16),
    /// It is not public, and nobody said that it need not be.
    #[error("the destination {0} is not public; name it in private_hosts to allow it")]
    NotPublic(String),
}

impl Refused {
    /// The same, told of another name.
    pub fn about(&self, name: &str) -> Self {
        match self {
            Self::NotEncrypted(_) => Self::NotEncrypted(name.to_owned()),
            Self::Port(_, port) => Self::Port(name.to_owned(), *port),
            Self::NotPublic(_) => Self::NotPublic(name.to_owned()),
            Self::Scheme | Self::Userinfo => self.clone(),
        }
    }
}

impl PrivateHosts {
    /// Reads names and addresses, with or without a port. What cannot be a host allows nothing.
    pub fn new(hosts: &[String]) -> Self {
        Self(hosts.iter().filter_map(|host| read_host(host)).collect())
    }

    /// Whether this address may be called, as far as can be told before its name is resolved.
    pub fn check(&self, url: &Url) -> Result<Reach, Refused> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Userinfo);
        }
        let host = host(url);
        let port = url.port_or_known_default();
        if self.0.iter().any(|(name, of)| *name == host && (of.is_none() || *of == port)) {
            return Ok(Reach::Anywhere);
        }
        let public = match host.parse() {
            Ok(address) => is_public(address),
            Err(_) => is_public_name(&host),
        };
        match (public, url.scheme()) {
            (false, _) => Err(Refused::NotPublic(host)),
            (true, "https") => match port {
                Some(port) if port < PORT_MIN && port != HTTPS => Err(Refused::Port(host, port)),
                _ => Ok(Reach::Public),
            },
            (true, _) => Err(Refused::NotEncrypted(host)),
        }
    }
}

/// Whether everybody reaches the same host by this address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| within_v4(address, *network)),
        IpAddr::V6(address) => {
            within_v6(address, PUBLIC_V6)
                && !NOT_PUBLIC_V6.iter().any(|network| within_v6(address, *network))
        }
    }
}

/// A name without dots means another host in every network.
fn is_public_name(name: &str) -> bool {
    let private = |domain: &&str| {
        name.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.contains('.') && !PRIVATE_DOMAINS.iter().any(private)
}

/// The host as it is compared: lower case, numbers as addresses, no brackets, no dot at the end.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

fn read_host(entry: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = match entry.rsplit_once(':') {
        _ if entry.parse::<Ipv6Addr>().is_ok() => (format!("[{entry}]"), None),
        Some((name, port)) if !entry.ends_with(']') => (name.to_owned(), Some(port.parse().ok()?)),
        _ => (entry.to_owned(), None),
    };
    // The URL reader writes every host in one way, however it is written here.
    let url = Url::parse(&format!("https://{name}/")).ok()?;
    let plain = url.path() == "/" && url.port().is_none() && url.username().is_empty();
    plain.then(|| (host(&url), port))
}

fn within_v4(address: Ipv4Addr, (network, length): ([u8; 4], u32)) -> bool {
    let mask = u32::MAX << (u32::BITS - length);
    address.to_bits() & mask == Ipv4Addr::from(network).to_bits() & mask
}

fn within_v6(address: Ipv6Addr, (network, length): ([u16; 8], u32)) -> bool {
    let mask = u128::MAX << (u128::BITS - length);
    address.to_bits() & mask == Ipv6Addr::from(network).to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(hosts: &[&str], url: &str) -> Result<Reach, Refused> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        PrivateHosts::new(&hosts).check(&Url::parse(url).unwrap())
    }

    #[test]
    fn public_addresses_are_public() {
        for address in
            "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 52.95.110.1 93.184.216.34 100.63.255.255 \
             100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15 169.253.255.255 169.255.0.0 \
             172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 \
             192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 \
             203.0.112.255 203.0.114.0 223.255.255.255 2000::1 2001:200::1 2001:4860:4860::8888 \
             2001:db7:ffff::1 2001:db9::1 2003::1 2600:1f00::1 2606:4700:4700::1111 2a00:1450::1 \
             3ffe::1 3fff:1000::1"
                .split_whitespace()
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_not() {
        for address in
            "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
             127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 \
             169.254.170.23 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.170 \
             192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 \
             198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 \
             255.255.255.254 255.255.255.255 :: ::1 ::7f00:1 ::10.0.0.1 ::8.8.8.8 \
             ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 \
             64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 \
             2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1 \
             2002:7f00:1:: 2002:808:808::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 \
             fd00:ec2::254 fd00::1 fe80::1 febf::1 fec0::1 ff00::1 ff02::1 ffff::1"
                .split_whitespace()
        {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_private_destination_is_refused_however_it_is_written() {
        for host in "127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 \
             0x7f.0x0.0x0.0x1 127.0.0.1. 127.0.0.1:443 0 0.0.0.0 00000.0.0.0 10.1 0xa.1 012.1.2.3 \
             192.168.1 0xc0a80101 3232235777 169.254.169.254 2852039166 0xa9fea9fe \
             0251.0376.0251.0376 169.254.43518 %31%32%37.0.0.1 １２７.０.０.１ 127。0。0。1 ①②⑦.⓪.⓪.① \
             [::1] [0:0:0:0:0:0:0:1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] \
             [64:ff9b::127.0.0.1] [2002:7f00:1::] [2001::1] [fe80::1] [fd00:ec2::254] \
             [fd00:EC2::254] localhost LOCALHOST localhost. LocalHost:8080 a.localhost \
             a.b.localhost. ｌｏｃａｌｈｏｓｔ loc%61lhost metadata metadata.google.internal \
             instance-data.ec2.internal db.internal. printer.local host.localdomain nas.home.arpa \
             wiki.intranet kubernetes localstack dynamodb-local:8000"
            .split_whitespace()
        {
            for scheme in ["https", "http"] {
                let refused = checked(&[], &format!("{scheme}://{host}/"));
                assert!(
                    matches!(refused, Err(Refused::NotPublic(_))),
                    "{scheme}://{host} {refused:?}"
                );
            }
        }
    }

    #[test]
    fn a_public_destination_may_be_called_by_https() {
        for host in "example.com EXAMPLE.com. ci.example.com:8443 8.8.8.8 [2606:4700::1111] \
             bücher.example notlocalhost.com internal.example.com local.example \
             localhost.example.com my-internal.com"
            .split_whitespace()
        {
            assert_eq!(checked(&[], &format!("https://{host}/a?b")), Ok(Reach::Public), "{host}");
            let refused = checked(&[], &format!("http://{host}/"));
            assert!(matches!(refused, Err(Refused::NotEncrypted(_))), "{host}");
        }
    }

    #[test]
    fn only_the_web_is_called_and_never_with_a_password() {
        for url in ["ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "data:,a"]
        {
            assert_eq!(checked(&["example.com"], url), Err(Refused::Scheme), "{url}");
        }
        for url in ["https://a@example.com/", "https://a:b@example.com/", "https://:b@example.com/"]
        {
            assert_eq!(checked(&["example.com"], url), Err(Refused::Userinfo), "{url}");
        }
        let url = "https://example.com@127.0.0.1/";
        assert_eq!(checked(&[], url), Err(Refused::Userinfo));
    }

    #[test]
    fn a_named_host_may_be_called_anywhere() {
        for (entry, url) in [
            ("localhost", "http://localhost:8080/"),
            ("LocalHost.", "https://LOCALHOST/"),
            ("127.0.0.1", "http://127.0.0.1:9000/"),
            ("127.0.0.1", "http://2130706433/"),
            ("0x7f.1", "http://127.0.0.1/"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("hooks.internal", "http://Hooks.Internal./"),
            ("hooks.internal:80", "http://hooks.internal/"),
            ("hooks.internal:443", "https://hooks.internal/"),
            ("::1", "http://[::1]:9000/"),
            ("[::1]", "http://[0:0:0:0:0:0:0:1]/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("bücher.local", "http://xn--bcher-kva.local/"),
        ] {
            assert_eq!(checked(&[entry], url), Ok(Reach::Anywhere), "{entry} {url}");
        }
    }

    #[test]
    fn a_named_host_allows_no_other() {
        for (entry, url) in [
            ("localhost", "http://127.0.0.1/"),
            ("localhost", "http://a.localhost/"),
            ("127.0.0.1", "http://localhost/"),
            ("127.0.0.1", "http://127.0.0.2/"),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
            ("127.0.0.1:9000", "http://127.0.0.1:9001/"),
            ("127.0.0.1:9000", "http://127.0.0.1/"),
            ("hooks.internal:80", "https://hooks.internal/"),
            ("hooks.internal", "http://a.hooks.internal/"),
            ("http://localhost", "http://localhost/"),
            ("localhost/a", "http://localhost/"),
            ("localhost:many", "http://localhost/"),
            ("10.0.0.0/8", "http://10.0.0.0/"),
            ("*", "http://localhost/"),
            ("", "http://localhost/"),
        ] {
            assert!(matches!(checked(&[entry], url), Err(Refused::NotPublic(_))), "{entry} {url}");
        }
    }
}
