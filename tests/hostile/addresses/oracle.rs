//! What is public, by IANA's registries and nothing of ours: addresses as text of zeros and ones.

use std::net::IpAddr;

const REGISTRY: &str = include_str!("iana.txt");

/// The registries of special-purpose addresses.
pub(super) struct Registry(Vec<Range>);

struct Range {
    network: String,
    length: usize,
    is_public: bool,
}

impl Registry {
    pub(super) fn read() -> Self {
        let lines = REGISTRY.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(Range::read).collect())
    }

    /// Whether no range that holds an address says that it is not; and in IPv6 one has to say that it is.
    pub(super) fn is_public(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        let holds = |range: &&Range| {
            range.network.len() == bits.len()
                && range.network[..range.length] == bits[..range.length]
        };
        let said: Vec<_> = self.0.iter().filter(holds).map(|range| range.is_public).collect();
        (address.is_ipv4() || !said.is_empty()) && said.into_iter().all(|is_public| is_public)
    }

    /// The first and the last address of each range, the one before and the one after.
    pub(super) fn boundaries(&self) -> Vec<IpAddr> {
        let mut found: Vec<_> = self.0.iter().flat_map(Range::boundaries).collect();
        found.sort();
        found.dedup();
        found
    }
}

impl Range {
    fn read(line: &str) -> Self {
        let mut words = line.split(' ');
        let (network, length) = words.next().unwrap().split_once('/').unwrap();
        let is_public = match words.next().unwrap() {
            "yes" => true,
            "no" | "stricter" => false,
            word => panic!("{word}"),
        };
        Self { network: bits(network.parse().unwrap()), length: length.parse().unwrap(), is_public }
    }

    fn boundaries(&self) -> Vec<IpAddr> {
        let prefix = &self.network[..self.length];
        let filled =
            |digit: &str| format!("{prefix}{}", digit.repeat(self.network.len() - self.length));
        let (first, last) = (filled("0"), filled("1"));
        let mut found = vec![address(&first), address(&last)];
        // The one before ends in 0111…, the one after in 1000…
        if let Some(one) = first.rfind('1') {
            found.push(address(&format!(
                "{}0{}",
                &first[..one],
                "1".repeat(first.len() - one - 1)
            )));
        }
        if let Some(zero) = last.rfind('0') {
            found.push(address(&format!(
                "{}1{}",
                &last[..zero],
                "0".repeat(last.len() - zero - 1)
            )));
        }
        found
    }
}

fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
        IpAddr::V6(address) => address.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
    }
}

fn address(bits: &str) -> IpAddr {
    match bits.len() {
        32 => u32::from_str_radix(bits, 2).unwrap().to_be_bytes().into(),
        _ => u128::from_str_radix(bits, 2).unwrap().to_be_bytes().into(),
    }
}
