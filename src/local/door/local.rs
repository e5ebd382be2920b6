//! Whether a request was made on this machine, for operators' calls.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Version};

/// Says why a request was not made on this machine by a program of its own, if it was not.
pub(super) fn is_local(caller: IpAddr, request: &Request) -> Result<(), String> {
    if !caller.is_loopback() {
        return Err("this request comes from another machine".into());
    }
    // A page in a browser can point a name of its own at this machine.
    if !names_this_machine(request) {
        return Err("this request is for another host; ask 127.0.0.1 or localhost".into());
    }
    if let Some(name) = request.headers().keys().find(|name| is_proxys(name)) {
        return Err(format!("this request came through a proxy (it has the header {name})"));
    }
    // nginx asks those behind it like this, and says nothing else of itself.
    if request.version() < Version::HTTP_11 {
        return Err("this request came through a proxy, or is not HTTP/1.1".into());
    }
    Ok(())
}

/// Whether a header is one that proxies add.
fn is_proxys(name: &HeaderName) -> bool {
    const NAMES: [&str; 4] = ["via", "cdn-loop", "x-host", "x-scheme"];
    const BEGINNINGS: [&str; 10] = [
        "x-original-",
        "x-proxy",
        "x-envoy-",
        "x-amz-cf-",
        "x-amzn-",
        "x-azure-",
        "cf-",
        "fly-",
        "fastly-",
        "x-arr-",
    ];
    const WORDS: [&str; 5] = ["forwarded", "real-ip", "client-ip", "clientip", "cluster-ip"];
    let name = name.as_str();
    NAMES.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || WORDS.iter().any(|word| name.contains(word))
}

fn names_this_machine(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let target = request.uri().authority().map(Authority::as_str);
    is_this_machine(host.unwrap_or_default()) && target.is_none_or(is_this_machine)
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_this_machines_own_names_are_its_names() {
        for name in [
            "localhost:8080",
            "LOCALHOST",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
            "127.0.0.1",
        ] {
            assert!(is_this_machine(name), "{name}");
        }
        for name in ["evil.example:8080", "localhost.evil.example", "", "10.0.0.1:8080"] {
            assert!(!is_this_machine(name), "{name}");
        }
    }

    fn request(headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().header("host", "127.0.0.1:8080");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_forwarded_request_is_not_local() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let plain = [("user-agent", "curl"), ("accept", "*/*"), ("content-type", "text/plain")];
        assert_eq!(is_local(local, &request(&plain)), Ok(()));
        for name in [
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Forwarded-Host",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "CF-Connecting-IP",
            "CF-Ray",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fly-Client-IP",
            "Fastly-Client-IP",
            "X-Envoy-External-Address",
            "X-Original-Forwarded-For",
            "X-Azure-ClientIP",
            "CDN-Loop",
            "X-Amzn-Trace-Id",
        ] {
            let why = is_local(local, &request(&[(name, "127.0.0.1")])).unwrap_err();
            assert!(why.contains(&name.to_ascii_lowercase()), "{why}");
        }
    }

    #[test]
    fn a_request_of_another_machine_or_of_an_old_proxy_is_not_local() {
        let local: IpAddr = "::1".parse().unwrap();
        assert!(is_local("192.0.2.1".parse().unwrap(), &request(&[])).is_err());
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(is_local(local, &old).is_err());
        assert_eq!(is_local(local, &request(&[])), Ok(()));
    }
}
