//! Where `http` steps may not go, however it is written.

mod oracle;

use std::collections::BTreeSet;
use std::net::IpAddr;

use everhook::Steps;
use everhook_journal::StepName;
use everhook_journal::retry::Retry;
use everhook_journal::workflow::StepDefinition;
use everhook_processor::destination::{PrivateHosts, Reach, Refused, is_public};
use proptest::prelude::*;
use reqwest::Url;
use serde_json::json;

use oracle::Registry;

const FORMS: &str = include_str!("addresses/forms.txt");

/// How many forms there must be.
const FORMS_MIN: usize = 500;

/// The names that the processor's own tests resolve to private addresses, through the resolver of its steps.
const NAMES: &str = include_str!("../../processor/src/destination/resolver/names.txt");

/// How many forms are tried, written and resolved.
pub(super) fn count() -> usize {
    let names = NAMES.lines().filter(|line| !line.starts_with('#'));
    forms().len() + names.count()
}

/// Each form after its verdict.
fn forms() -> Vec<(&'static str, String)> {
    let lines = FORMS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(verdict, form)| (verdict, unescaped(form)))
        .collect()
}

fn unescaped(form: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), form.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, (byte == b'\\').then(|| rest.next().unwrap())) {
            (_, Some(b't')) => b'\t',
            (_, Some(b'n')) => b'\n',
            (_, Some(b'r')) => b'\r',
            (_, Some(b'0')) => b'\0',
            (_, Some(b'x')) => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (byte, None) => byte,
            (_, Some(escaped)) => escaped,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// What a workflow with a step that calls this is told.
fn verdict(steps: &Steps, form: &str) -> (&'static str, String) {
    let definition = StepDefinition {
        name: StepName::new("call"),
        run: "http".into(),
        timeout_ms: 1_000,
        retry: Retry::NEVER,
        when: None,
        at_most_once: None,
        record_request: true,
        steps: Vec::new(),
        branches: Vec::new(),
        options: [("url".to_owned(), json!(form))].into_iter().collect(),
    };
    let told = steps.build(&definition).map(|_| String::new());
    let told = told.unwrap_or_else(|error| error.to_string());
    let judged = match form.parse::<Url>() {
        Err(_) => return if told.contains("is not a URL") { ("none", told) } else { ("!", told) },
        Ok(url) => PrivateHosts::default().check(&url),
    };
    let verdict = match &judged {
        Ok(Reach::Public) => "public",
        Ok(Reach::Anywhere) => "anywhere",
        Err(Refused::Scheme) => "scheme",
        Err(Refused::Userinfo) => "userinfo",
        Err(Refused::NotEncrypted(_)) => "plain",
        Err(Refused::Port(..)) => "port",
        Err(Refused::NotPublic(_)) => "private",
    };
    // The step says what the guard says.
    let said = judged.err().map_or(String::new(), |refused| refused.to_string());
    if told.contains(&said) && told.is_empty() == said.is_empty() {
        (verdict, told)
    } else {
        ("!", told)
    }
}

/// The address that a form names, if it is one and no name.
fn literal(form: &str) -> Option<IpAddr> {
    let url: Url = form.parse().ok()?;
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

#[test]
fn every_form_has_its_verdict() {
    let (steps, forms) = (Steps::new(), forms());
    let distinct: BTreeSet<_> = forms.iter().map(|(_, form)| form).collect();
    assert_eq!(distinct.len(), forms.len(), "a form is there twice");
    assert!(forms.len() >= FORMS_MIN);
    let wrong: Vec<_> = forms
        .iter()
        .map(|(wanted, form)| (wanted, form, verdict(&steps, form)))
        .filter(|(wanted, _, (verdict, _))| wanted != &verdict)
        .map(|(wanted, form, verdict)| format!("{form:?}: wanted {wanted}, {verdict:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whatever_is_let_through_is_public_by_the_registry() {
    let (steps, registry) = (Steps::new(), Registry::read());
    let mut found = 0;
    for (_, form) in forms() {
        if verdict(&steps, &form).0 != "public" {
            continue;
        }
        if let Some(address) = literal(&form) {
            assert!(registry.is_public(address), "{form}");
            found += 1;
        }
    }
    assert!(found >= 20, "{found} literal addresses");
}

/// The first and the last address of every range, and their neighbours outside.
#[test]
fn every_boundary_is_where_the_registry_has_it() {
    let registry = Registry::read();
    let boundaries = registry.boundaries();
    let known: BTreeSet<_> = forms().iter().filter_map(|(_, form)| literal(form)).collect();
    for address in &boundaries {
        assert_eq!(is_public(*address), registry.is_public(*address), "{address}");
        assert!(known.contains(address), "{address} is not in the table");
    }
    assert!(boundaries.len() >= 150, "{}", boundaries.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_address_is_judged_as_the_registry_says(
        v4 in any::<u32>(), v6 in any::<u128>(), near in 0..10_000_usize, offset in -300_i32..300,
        low in any::<u64>(),
    ) {
        let registry = Registry::read();
        let boundaries = registry.boundaries();
        let near = match boundaries[near % boundaries.len()] {
            IpAddr::V4(it) => IpAddr::from(it.to_bits().wrapping_add_signed(offset).to_be_bytes()),
            IpAddr::V6(it) => IpAddr::from((it.to_bits() ^ u128::from(low)).to_be_bytes()),
        };
        let global = (v6 >> 3) | (1 << 125);
        for address in [IpAddr::from(v4.to_be_bytes()), v6.to_be_bytes().into(), global.to_be_bytes().into(), near] {
            prop_assert_eq!(is_public(address), registry.is_public(address), "{}", address);
        }
    }
}
