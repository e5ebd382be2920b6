//! URLs of `http` steps: what is let through names a host to be resolved, or an address of the internet.

#![no_main]

use everhook_processor::destination::{PrivateHosts, is_public};
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

fuzz_target!(|text: &str| {
    let Ok(url) = Url::parse(text) else { return };
    if PrivateHosts::new(&[]).check(&url).is_ok() {
        assert_eq!(url.scheme(), "https");
        match url.host().expect("a destination has a host") {
            Host::Ipv4(address) => assert!(is_public(address.into())),
            Host::Ipv6(address) => assert!(is_public(address.into())),
            Host::Domain(name) => assert!(!name.is_empty()),
        }
    }
});
