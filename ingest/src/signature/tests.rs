use std::path::Path;

use everhook_journal::event::IdOrigin;

use super::encoding::Encoding;
use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const BODY: &[u8] = br#"{"id": "evt_1", "type": "demo.created"}"#;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn scheme(name: &str) -> Scheme {
    let preset = preset(name).unwrap();
    let tolerance = preset.tolerance_s.map(Duration::from_secs);
    let settings = Settings { tolerance, ..Settings::default() };
    let secrets = [Secret::new("env:TEST", SECRET)];
    let secrets = if preset.takes_secrets() { &secrets[..] } else { &[] };
    Scheme::new(preset, secrets, settings).unwrap()
}

fn verify(scheme: &Scheme, pairs: &[(&str, &str)], body: &[u8]) -> Result<Claims, Unverified> {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    verify_owned(scheme, &pairs, body)
}

fn verify_owned(
    scheme: &Scheme,
    pairs: &[(String, String)],
    body: &[u8],
) -> Result<Claims, Unverified> {
    let headers = Headers::from_pairs(pairs);
    let body = &Bytes::copy_from_slice(body);
    let sent =
        Sent { method: "POST", query: "", headers: &headers, body, now: NOW, certificate: None };
    Ok(scheme.read(scheme.verify(&sent)?, &sent).claims)
}

// GitHub's own example: docs.github.com, "Validating webhook deliveries".
const HELLO: &[u8] = b"Hello, World!";
const DIGITS: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn githubs_own_example_is_verified_and_nothing_like_it() {
    let github = scheme("github");
    let judge = |value: &str| verify(&github, &[("X-Hub-Signature-256", value)], HELLO).map(drop);
    assert_eq!(judge(&format!("sha256={DIGITS}")), Ok(()));
    for other in [
        String::new(),
        DIGITS.into(),
        "sha256=".into(),
        format!("sha1={DIGITS}"),
        format!("sha256={}", DIGITS.to_uppercase()),
        format!("sha256={}", &DIGITS[2..]),
    ] {
        assert_eq!(judge(&other), Err(Unverified::Malformed), "{other}");
    }
    let twice = format!("sha256={DIGITS},sha256={DIGITS}");
    assert_eq!(judge(&twice), Err(Unverified::Ambiguous));
    let changed =
        verify(&github, &[("X-Hub-Signature-256", &format!("sha256={DIGITS}"))], b"Hello");
    assert_eq!(changed, Err(Unverified::NoMatch));
}

#[test]
fn what_is_no_signature_spoils_no_list() {
    let plain = preset("hmac-sha256").unwrap();
    let secrets = [Secret::new("env:TEST", SECRET)];
    let list = Scheme::list_in(plain, "x-signature", &secrets, Settings::default()).unwrap();
    let bad = "0".repeat(64);
    for header in [
        format!("sha256=XXX{},sha256={DIGITS}", &DIGITS[3..]),
        format!("sha256={DIGITS},sha256=XXX{}", &DIGITS[3..]),
        format!("sha256={DIGITS},"),
        format!(",sha256={DIGITS}"),
        format!(" , ,\tsha256={DIGITS}\t, "),
        format!("sha256={DIGITS},sha256={DIGITS}"),
        format!("sha1=abc,sha512=abc,v9=abc,sha256={DIGITS}"),
        format!("nonsense,{DIGITS},=,sha256=,sha256={}", DIGITS.to_uppercase()),
        format!("sha256={bad},{DIGITS}"),
        format!("{}sha256={DIGITS}", "junk,".repeat(31)),
    ] {
        assert!(verify(&list, &[("X-Signature", &header)], HELLO).is_ok(), "{header}");
    }
    for (header, why) in [
        (String::new(), Unverified::Malformed),
        (",".into(), Unverified::Malformed),
        (format!("sha256={bad},"), Unverified::NoMatch),
        (format!("sha256=XXX{}", &DIGITS[3..]), Unverified::Malformed),
        // A bound on what is looked at.
        (format!("{}sha256={DIGITS}", "junk,".repeat(32)), Unverified::Malformed),
        (format!("{}sha256={DIGITS}", format!("{bad},").repeat(8)), Unverified::NoMatch),
    ] {
        assert_eq!(verify(&list, &[("X-Signature", &header)], HELLO), Err(why), "{header}");
    }
}

#[test]
fn what_is_no_signature_spoils_no_list_with_a_time() {
    let stripe = scheme("stripe");
    let [(name, good)] = &*stripe.sign("", None, BODY, NOW) else { panic!("one header") };
    let (time, signature) = good.split_once(',').unwrap();
    for header in [
        format!("{good},"),
        format!("{time},v1=short,{signature}"),
        format!("{time}, v0=abc, v2=abc, {signature}"),
        format!("{time},{signature},{signature}"),
        format!("nonsense,{signature},{time}"),
    ] {
        assert!(verify(&stripe, &[(name, &header)], BODY).is_ok(), "{header}");
    }
    let two_times = format!("{time},{good}");
    assert_eq!(verify(&stripe, &[(name, &two_times)], BODY), Err(Unverified::Ambiguous));
    assert!(verify(&stripe, &[(name, signature)], BODY).is_err());
}

#[test]
fn what_is_no_signature_spoils_no_standard_webhook() {
    let secret = Secret::new("env:TEST", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let preset = preset("standard-webhooks").unwrap();
    let standard = Scheme::new(preset, &[secret], Settings::default()).unwrap();
    let signed = standard.sign("id-1", None, BODY, NOW);
    let judge = |signature: String| {
        let mut headers = signed.clone();
        headers[2].1 = signature;
        verify_owned(&standard, &headers, BODY).map(drop)
    };
    let good = &signed[2].1;
    for header in [
        format!("v1,short {good}"),
        format!("{good} "),
        format!(" {good} {good}"),
        format!("v9,abc v1a,abc nonsense {good}"),
        format!("v1, {good} v1,a,b"),
    ] {
        assert_eq!(judge(header.clone()), Ok(()), "{header}");
    }
    assert_eq!(judge(format!("{good},{good}")), Err(Unverified::Malformed));
    assert_eq!(judge("nonsense".into()), Err(Unverified::Malformed));
}

#[test]
fn a_byte_order_mark_is_signed_and_not_seen() {
    let body = [b"\xef\xbb\xbf", BODY].concat();
    for skips_bom in [true, false] {
        let settings = Settings { skips_bom, ..Settings::default() };
        let secrets = [Secret::new("env:TEST", SECRET)];
        let scheme = Scheme::new(preset("vercel").unwrap(), &secrets, settings).unwrap();
        let headers = Headers::from_pairs(&scheme.sign("", None, &body, NOW));
        let body = &Bytes::copy_from_slice(&body);
        let sent = Sent {
            method: "POST",
            query: "",
            headers: &headers,
            body,
            now: NOW,
            certificate: None,
        };
        let read = scheme.read(scheme.verify(&sent).unwrap(), &sent);
        assert_eq!(read.outline.summary.is_some(), skips_bom);
        assert_eq!(read.body() == BODY, skips_bom);
    }
}

#[test]
fn a_missing_header_and_two_of_them_are_refused() {
    let github = scheme("github");
    let signature = format!("sha256={DIGITS}");
    let twice = [("X-Hub-Signature-256", &*signature), ("x-hub-signature-256", &*signature)];
    assert_eq!(verify(&github, &[], HELLO), Err(Unverified::Missing));
    assert_eq!(verify(&github, &twice, HELLO), Err(Unverified::Ambiguous));
}

#[test]
fn of_the_plain_schemes_headers_all_that_are_sent_must_fit() {
    let plain = scheme("hmac-sha256");
    let (one, other) = ("x-webhook-signature", "x-hub-signature-256");
    let (prefixed, bad) = (format!("sha256={DIGITS}"), "0".repeat(64));
    for good in [[(one, DIGITS), (other, &*prefixed)].as_slice(), &[(other, DIGITS)]] {
        assert!(verify(&plain, good, HELLO).is_ok());
    }
    let both = [(one, DIGITS), (other, &*bad)];
    assert_eq!(verify(&plain, &both, HELLO), Err(Unverified::NoMatch));
}

/// A sender that signs an entry of its header, and may use either of two headers.
const TWO_HEADERS: Written<'static> = Written {
    headers: &["x-a", "x-b"],
    separator: Some(','),
    tag: "v1=",
    signed: "{entry:id}.{entry:kind}.{body}",
    id: "entry:id header:x-id",
    event_type: "entry:kind",
    ..recipe::PLAIN
};

fn of_recipe(written: &Written<'_>) -> Scheme {
    let secrets = [Secret::new("env:TEST", SECRET)];
    let recipe = Recipe::parse(written).unwrap();
    Scheme::with_recipe(preset("recipe").unwrap(), recipe, &secrets, Settings::default()).unwrap()
}

/// The signature of these parts, in hexadecimal.
fn hex(parts: &[&str]) -> String {
    let key = Key::new(&Secret::new("env:TEST", SECRET), SECRET.as_bytes()).unwrap();
    let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
    Encoding::Hex.encode(&key.sign(&parts))
}

#[test]
fn entries_are_read_from_the_header_that_verified() {
    let scheme = of_recipe(&TWO_HEADERS);
    let text = "{}";
    let good = format!("id=real,kind=paid,v1={}", hex(&["real.paid.", text]));
    let forged = format!("id=future,kind=refunded,v1={}", "0".repeat(64));
    let empty = "id=future,kind=refunded".to_owned();
    let spoiled = format!("id=future,kind=paid,v1={}", hex(&["real.paid.", text]));
    let claims = |pairs: &[(&str, &str)]| {
        let claims = verify(&scheme, pairs, text.as_bytes())?;
        Ok((claims.delivery_id, claims.event_type))
    };
    let real = Ok((Some(("real".to_owned(), IdOrigin::Signed)), Some("paid".to_owned())));
    assert_eq!(claims(&[("x-a", &good)]), real);
    for other in [&forged, &empty, &spoiled, &String::new()] {
        assert_eq!(claims(&[("x-a", other), ("x-b", &good)]), real, "{other}");
        assert_eq!(claims(&[("x-b", other), ("x-a", &good)]), real, "{other}");
        assert_eq!(claims(&[("x-a", other), ("x-b", &good), ("x-id", "future")]), real, "{other}");
        assert!(claims(&[("x-a", other)]).is_err(), "{other}");
    }
    // Two lines of one name, and lines that a gateway joined, are no single header.
    for (pairs, why) in [
        (vec![("x-a", &*forged), ("x-a", &good)], Unverified::Ambiguous),
        (vec![("x-a", &*good), ("x-a", &forged)], Unverified::Ambiguous),
        (vec![("x-b", &*forged), ("x-b", &forged), ("x-a", &good)], Unverified::Ambiguous),
        (vec![("x-a", &*format!("{forged},{good}"))], Unverified::Ambiguous),
        (vec![("x-a", &*format!("{good},{forged}"))], Unverified::Ambiguous),
    ] {
        assert_eq!(claims(&pairs), Err(why), "{pairs:?}");
    }
}

#[test]
fn of_headers_that_must_all_fit_the_first_says_what_the_request_is() {
    let scheme = of_recipe(&Written { every: true, ..TWO_HEADERS });
    let header = |id: &str| format!("id={id},kind=k,v1={}", hex(&[id, ".k.{}"]));
    let claims = verify(&scheme, &[("x-b", &header("2")), ("x-a", &header("1"))], b"{}");
    assert_eq!(claims.unwrap().delivery_id.unwrap().0, "1");
    let forged = format!("id=3,kind=k,v1={}", "0".repeat(64));
    let judged = verify(&scheme, &[("x-a", &forged), ("x-b", &header("2"))], b"{}");
    assert_eq!(judged, Err(Unverified::NoMatch));
}

#[test]
fn a_second_family_of_headers_names_no_standard_webhook() {
    let secret = Secret::new("env:TEST", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let preset = preset("standard-webhooks").unwrap();
    let standard = Scheme::new(preset, &[secret], Settings::default()).unwrap();
    let signed = standard.sign("real", None, BODY, NOW);
    let svix: Vec<_> = signed
        .iter()
        .map(|(name, value)| (name.replace("webhook-", "svix-"), value.clone()))
        .collect();
    let with = |more: &[(&str, &str)]| {
        let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let pairs: Vec<_> = svix.iter().cloned().chain(more).collect();
        verify_owned(&standard, &pairs, BODY).map(|claims| claims.delivery_id.unwrap())
    };
    let real = Ok(("real".to_owned(), IdOrigin::Signed));
    assert_eq!(with(&[]), real);
    assert_eq!(with(&[("webhook-id", "future")]), real);
    assert_eq!(with(&[("webhook-id", "future"), ("webhook-timestamp", "1")]), real);
    assert!(with(&[("webhook-id", "future"), ("webhook-signature", "v1,AAAA")]).is_err());
    assert!(with(&[("svix-id", "future")]).is_err());
}

/// Requests of a recipe that have one signed text, whatever they are.
fn requests_of_one_text(written: &Written<'_>) -> Vec<(String, Claims, Vec<u8>)> {
    const VALUES: [&str; 12] =
        ["7", "7.", ".7", "7.a", "a.7", "a", "a.", "7.a.b", "--", "7-", "7{", "["];
    const BODIES: [&str; 16] = [
        "{}",
        "[]",
        "7",
        "a.{}",
        "77",
        ".7",
        "{\"x\":{}}",
        "[{}]",
        "{{}}",
        "\"7\"",
        "7.5",
        " {}",
        "{} ",
        ".{}",
        "a{}",
        "--[7]",
    ];
    let scheme = of_recipe(written);
    let recipe = Recipe::parse(written).unwrap();
    let mut all = Vec::new();
    for (id, kind) in VALUES.iter().flat_map(|id| VALUES.map(|kind| (*id, kind))) {
        for (body, time) in
            BODIES.iter().flat_map(|it| ["1700000000", "170000000"].map(|at| (it, at)))
        {
            let value = |name: &str| match name {
                "header:x-id" => id,
                "header:x-kind" => kind,
                "timestamp" => time,
                "body" => body,
                other => panic!("{other}"),
            };
            let mut text = String::new();
            for part in written.signed.split_inclusive('}') {
                match part.split_once('{') {
                    Some((before, name)) => {
                        text += &format!("{before}{}", value(&name[..name.len() - 1]))
                    }
                    None => text += part,
                }
            }
            let signature = hex(&[&text]);
            let pairs = [("x-a", &*signature), ("x-id", id), ("x-kind", kind), ("x-t", time)];
            // Where a recipe takes only JSON, nothing else becomes an execution.
            let is_json = everhook_journal::json::check(body.as_bytes()).is_ok();
            if is_json || recipe.takes_json_only().is_none() {
                let claims = verify(&scheme, &pairs, body.as_bytes());
                all.extend(claims.ok().map(|claims| (text, claims, body.as_bytes().to_vec())));
            }
        }
    }
    all
}

#[test]
fn one_signed_text_is_one_request() {
    let plain = Written {
        headers: &["x-a"],
        timestamp: "header:x-t",
        id: "header:x-id",
        event_type: "header:x-kind",
        ..recipe::PLAIN
    };
    for (signed, is_signed) in [
        ("{timestamp}.{header:x-id}.{header:x-kind}.{body}", [true, true]),
        ("{timestamp}{header:x-id}--{header:x-kind}{body}", [true, true]),
        ("{header:x-id}{timestamp}{body}", [true, false]),
        ("{header:x-id}.{timestamp}.{body}", [true, false]),
        ("{timestamp}{body}", [false, false]),
        ("{timestamp}.{body}.{header:x-id}", [true, false]),
        ("{timestamp}.{body}{header:x-id}", [true, false]),
        ("{header:x-kind}.{body}.{header:x-id}.{timestamp}", [true, true]),
        ("{header:x-kind}--{body}{header:x-id}{timestamp}", [true, true]),
        ("{timestamp}{header:x-id}{header:x-kind}{body}", [false, false]),
        ("{timestamp}{header:x-id}{header:x-kind}.{body}", [false, false]),
        ("{timestamp}{body}.{header:x-id}{header:x-kind}", [false, false]),
    ] {
        let written = Written { signed, ..plain };
        let mut first = std::collections::HashMap::new();
        let requests = requests_of_one_text(&written);
        assert!(requests.len() > 100, "{signed}: only {} are accepted", requests.len());
        for (text, claims, body) in requests {
            let (id, origin) = claims.delivery_id.unwrap();
            assert_eq!(origin == IdOrigin::Signed, is_signed[0], "{signed}");
            let kind = claims.event_type.unwrap();
            let request = (is_signed[0].then_some(id), is_signed[1].then_some(kind), body);
            let first = first.entry(text.clone()).or_insert_with(|| request.clone());
            assert_eq!(*first, request, "{signed}: {text}");
        }
    }
}

#[test]
fn every_header_that_a_recipe_reads_is_known() {
    let scheme = of_recipe(&Written {
        headers: &["x-a"],
        signed: "{timestamp}.{header:host}.{body}",
        timestamp: "header:x-t",
        id: "header:x-real-ip+header:x-id json:id",
        event_type: "header:via",
        requires: &[("x-version", "1")],
        ..recipe::PLAIN
    });
    let mut reads = scheme.reads();
    reads.sort_unstable();
    assert_eq!(reads, ["host", "via", "x-a", "x-id", "x-real-ip", "x-t", "x-version"]);
}

#[test]
fn a_value_that_contains_its_delimiter_is_refused_in_words() {
    let written = Written {
        headers: &["x-a"],
        signed: "{header:x-id}.{header:x-kind}.{body}",
        id: "header:x-id",
        ..recipe::PLAIN
    };
    let scheme = of_recipe(&written);
    let judge = |id: &str, kind: &str, body: &str| {
        let signature = hex(&[&format!("{id}.{kind}.{body}")]);
        let pairs = [("x-a", &*signature), ("x-id", id), ("x-kind", kind)];
        verify(&scheme, &pairs, body.as_bytes()).map(|claims| claims.delivery_id.unwrap().1)
    };
    // A type with dots is usual: an object has one beginning only, so it ends there.
    assert_eq!(judge("7", "orders.paid", r#"{"x":1}"#), Ok(IdOrigin::Signed));
    assert_eq!(judge("7", "orders", "22.5"), Ok(IdOrigin::Signed));
    assert_eq!(judge("7.orders", "paid", r#"{"x":1}"#), Err(Unverified::Divisible));
    assert_eq!(judge("7", "orders.22", "5"), Err(Unverified::Divisible));
    assert_eq!(judge("7", "orders.paid", " {}"), Err(Unverified::Divisible));
    assert!(Unverified::Divisible.to_string().contains("more than one way"));
}

#[test]
fn no_preset_signs_what_nothing_divides() {
    for preset in preset::all() {
        if let Way::Recipe(written) = &preset.way {
            assert_eq!(Recipe::parse(written).unwrap().undivided(), None, "{}", preset.name);
        }
    }
    // Twitch: an id of any form, a timestamp and an object, with nothing between them.
    let twitch = scheme("twitch");
    let judge = |id: &str, time: &str, body: &str| {
        let signature = format!("sha256={}", hex(&[id, time, body]));
        let pairs = [
            ("twitch-eventsub-message-id", id),
            ("twitch-eventsub-message-timestamp", time),
            ("twitch-eventsub-message-signature", &signature),
        ];
        verify(&twitch, &pairs, body.as_bytes()).map(drop)
    };
    let time = "2023-11-14T22:13:20.123456789Z";
    assert_eq!(judge("id-1", time, "{}"), Ok(()));
    assert_eq!(judge("id-1+00", time, "{}"), Ok(()));
    assert_eq!(judge("id-1", &format!("+00{time}"), "{}"), Err(Unverified::Divisible));
    assert_eq!(judge("id-1", "2023-11-14T22:13:20Z[UTC]", "{}"), Err(Unverified::Divisible));
    assert_eq!(judge("id-1", time, "22.5"), Err(Unverified::Divisible));
}

#[test]
fn a_template_that_could_be_divided_anywhere_is_refused_in_words() {
    let refused = |signed: &'static str| {
        let written = Written {
            headers: &["x-a"],
            signed,
            timestamp: "header:x-t",
            id: "header:x-id",
            ..recipe::PLAIN
        };
        Recipe::parse(&written).err().unwrap_or_default()
    };
    for signed in [
        "{timestamp}{header:x-id}{body}{header:x-kind}",
        "{timestamp}{url}.{body}.{header:x-id}",
        "{timestamp}{header:a}{header:b}.{body}{header:c}",
        "{timestamp}{json:a}.{header:b}.{body}.{header:c}",
    ] {
        let why = refused(signed);
        assert!(why.contains(signed) && why.contains("both sides of {body}"), "{signed}: {why}");
    }
    for signed in
        ["{header:x-id}{timestamp}{header:b}{body}", "{body}{header:a}{timestamp}{header:b}"]
    {
        let why = refused(signed);
        assert!(why.contains(signed) && why.contains("timestamp"), "{signed}: {why}");
    }
    assert!(refused("{timestamp}{body}{body}").contains("twice"));
    for signed in ["{timestamp}.{json:id}{json:type}{body}", "{timestamp}.{header:a}.{body}{url}"] {
        assert_eq!(refused(signed), "", "{signed}");
    }
}

#[test]
fn no_entry_that_is_a_signature_names_anything() {
    for places in ["entry:v1", "header:x-id entry:v1", "entry:id+entry:v1"] {
        let written = Written { id: places, ..TWO_HEADERS };
        assert!(Recipe::parse(&written).unwrap_err().contains("holds a signature"), "{places}");
    }
}

#[test]
fn ids_say_whether_they_are_signed() {
    for (name, id) in [
        ("github", ("id-1", IdOrigin::Unsigned)),
        ("standard-webhooks", ("id-1", IdOrigin::Signed)),
        ("twitch", ("id-1", IdOrigin::Signed)),
        ("stripe", ("evt_1", IdOrigin::Signed)),
        ("bearer", ("id-1", IdOrigin::Unsigned)),
    ] {
        let scheme = match name {
            "standard-webhooks" => {
                let secret = Secret::new("env:TEST", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
                let tolerance = Some(TOLERANCE);
                let settings = Settings { tolerance, ..Settings::default() };
                Scheme::new(preset(name).unwrap(), &[secret], settings).unwrap()
            }
            name => scheme(name),
        };
        let claims = verify_owned(&scheme, &scheme.sign("id-1", None, BODY, NOW), BODY).unwrap();
        assert_eq!(claims.delivery_id, Some((id.0.to_owned(), id.1)), "{name}");
        assert_eq!(claims.secret.as_deref(), Some("env:TEST"), "{name}");
    }
}

#[test]
fn what_we_sign_ourselves_is_verified() {
    let signable = preset::all().filter(|preset| match &preset.way {
        Way::Recipe(written) => {
            let plain = matches!(written.key, encoding::KeyEncoding::Text);
            plain && !Recipe::parse(written).unwrap().needs_url()
        }
        Way::Custom(custom, _) => *custom == Custom::Monday,
        Way::Open(_) => true,
    });
    for preset in signable.filter(|preset| preset.name != "linear") {
        let scheme = scheme(preset.name);
        let signed = scheme.sign("id-1", Some("push"), BODY, NOW);
        assert!(verify_owned(&scheme, &signed, BODY).is_ok(), "{}: {signed:?}", preset.name);
        if let Way::Recipe(_) = &preset.way {
            assert!(verify_owned(&scheme, &[], BODY).is_err(), "{}", preset.name);
        }
    }
}

#[test]
fn no_more_than_eight_signatures_are_tried() {
    let stripe = scheme("stripe");
    let [(name, good)] = &*stripe.sign("", None, BODY, NOW) else { panic!("one header") };
    let more = |count: usize| {
        let others: String = (0..count).map(|n| format!(",v1={n:064}")).collect();
        let (time, signature) = good.split_once(',').unwrap();
        verify(&stripe, &[(name, &format!("{time}{others},{signature}"))], BODY).map(drop)
    };
    assert_eq!(more(SIGNATURES_MAX - 1), Ok(()));
    assert_eq!(more(SIGNATURES_MAX), Err(Unverified::NoMatch));
}

#[test]
fn an_empty_secret_makes_no_scheme() {
    for preset in preset::all().filter(|preset| preset.takes_secrets()) {
        for secret in ["", "whsec_", "whpk_"] {
            let empty_key = secret.is_empty() || preset.name == "standard-webhooks";
            let scheme =
                Scheme::new(preset, &[Secret::new("env:TEST", secret)], Settings::default());
            assert!(scheme.is_err() || !empty_key, "{}: {secret}", preset.name);
        }
    }
}

#[test]
fn a_recipe_that_would_prove_nothing_is_refused_in_words() {
    let refused = |written: Written<'_>| Recipe::parse(&written).unwrap_err();
    let plain = Written { headers: &["x-signature"], ..recipe::PLAIN };
    assert!(refused(recipe::PLAIN).contains("`header`"));
    assert!(refused(Written { signed: "{header:x-id}", ..plain }).contains("{body}"));
    assert!(refused(Written { signed: "{timestamp}{body}", ..plain }).contains("`timestamp`"));
    assert!(refused(Written { timestamp: "header:x-time", ..plain }).contains("{timestamp}"));
    assert!(refused(Written { signed: "{boddy}", ..plain }).contains("`{boddy}` is unknown"));
    assert!(refused(Written { id: "x-id", ..plain }).contains("is no place"));
    let dated = Written { signed: "{timestamp}{body}", timestamp: "entry:t", ..plain };
    assert!(refused(dated).contains("`separator`"));
    let dated = Written { separator: Some(','), tag: "v1=", ..dated };
    assert!(Recipe::parse(&dated).is_ok());
    assert!(refused(Written { headers: &["x-a", "x-b"], ..dated }).contains("only one"));
    let token = encoding::Encoding::Text;
    assert!(refused(Written { encoding: token, ..plain }).contains("token"));
}

/// Comparisons are where a signature leaks: there is one place for them.
#[test]
fn only_the_keys_compare_signatures() {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut folders =
        vec![source.join("signature"), source.join("handshake"), source.join("source")];
    let mut files = vec![source.join("signature.rs"), source.join("receive.rs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let is_secret = |text: &str| {
        ["signature", "secret", "digest", "token", "mac", "expose"]
            .iter()
            .any(|word| text.contains(word))
    };
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_keys = file.ends_with("signature/key.rs");
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let lower = line.to_lowercase();
            let compares = lower.contains("verify_slice") || lower.contains("ct_eq");
            assert!(is_keys || !compares, "{}: {line}", file.display());
            for operator in [" == ", " != "] {
                let Some((left, right)) = lower.split_once(operator) else { continue };
                let sides = [left.split_whitespace().last(), right.split_whitespace().next()];
                let suspicious = sides.into_iter().flatten().any(is_secret);
                // Names of algorithms and headers are no secrets.
                let is_plain = lower.contains("algorithm");
                assert!(!suspicious || is_plain, "{}: {line}", file.display());
            }
        }
    }
    let keys = std::fs::read_to_string(source.join("signature/key.rs")).unwrap();
    for name in ["pub struct Signature", "pub struct Key", "enum Kind"] {
        let (before, _) = keys.split_once(name).unwrap();
        let derive = before.lines().rev().find(|line| line.starts_with("#[derive")).unwrap();
        assert_eq!(derive, "#[derive(Clone)]", "{name} must not be comparable");
    }
}

#[test]
fn what_is_signed_for_twilio_is_verified_whatever_the_body_is() {
    let preset = preset("twilio").unwrap();
    let settings = Settings {
        public_url: Some("https://hooks.example.com/webhook/twilio".into()),
        ..Settings::default()
    };
    let scheme = Scheme::new(preset, &[Secret::new("env:TEST", "token")], settings).unwrap();
    for body in
        ["Body=hello+you&From=%2B1", r#"{"a":"b=c"}"#, "", "text", "a=%zz", "a&b", "\u{feff}{}"]
    {
        let pairs = scheme.sign("id-1", None, body.as_bytes(), NOW);
        let types = pairs.iter().filter(|(name, _)| name == "content-type").count();
        assert_eq!(types, 1, "{body}");
        let headers = Headers::from_pairs(&pairs);
        let query = scheme.query(body.as_bytes());
        let sent = Sent {
            method: "POST",
            query: &query,
            headers: &headers,
            body: &bytes::Bytes::from_static(body.as_bytes()),
            now: NOW,
            certificate: None,
        };
        let verified = scheme.verify(&sent);
        assert_eq!(
            verified.map(|it| it.claims.delivery_id.unwrap().0).as_deref(),
            Ok("id-1"),
            "{body}"
        );
    }
}

#[test]
fn the_place_of_an_id_that_no_header_has_is_known() {
    let of = |name: &str| {
        let settings = Settings {
            public_url: Some("https://hooks.example.com/".into()),
            webhook_id: Some("w".into()),
            topics: Some(Vec::new()),
            ..Settings::default()
        };
        Scheme::new(preset(name).unwrap(), &[], settings).unwrap().id_elsewhere()
    };
    for name in ["github", "standard-webhooks", "twilio", "paypal"] {
        assert_eq!(of(name), None, "{name}");
    }
    for name in ["stripe", "slack", "mailgun", "monday", "sns"] {
        assert_eq!(of(name), Some("in the body"), "{name}");
    }
    assert_eq!(of("meta"), Some("nowhere"));
}
