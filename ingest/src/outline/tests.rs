use super::*;

fn summary(body: &[u8]) -> Option<Summary> {
    Outline::of(body, &Wanted::default()).summary
}

#[test]
fn a_path_of_keys_finds_texts_and_numbers() {
    let body =
        br#"{"id": "a", "n": 7, "data": {"id": "b", "list": [{"id": "c"}]}, "x": {}, "f": 1.5}"#;
    let found = [
        ("id", Some("a")),
        ("n", Some("7")),
        ("data.id", Some("b")),
        ("data.list.0.id", Some("c")),
        ("x", None),
        ("f", Some("1.5")),
        ("data", None),
        ("data.nothing", None),
        ("id.more", None),
        ("", None),
        ("0.id", None),
    ];
    for (path, value) in found {
        assert_eq!(field(body, path).as_deref(), value, "{path}");
    }
    // All in one pass are the same as each by itself.
    let wanted = found.map(|(path, _)| Path::dotted(path));
    let outline = Outline::of(body, &Wanted { paths: wanted.to_vec(), list: None });
    for (path, value) in found {
        assert_eq!(outline.field(path).as_deref(), value, "{path}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_and_half_a_body_has_none() {
    assert_eq!(field(br#"{"id": 1, "id": 2}"#, "id").as_deref(), Some("2"));
    assert_eq!(field(br#"{"a": {"id": 1}, "a": 3}"#, "a.id"), None);
    assert_eq!(field(br#"{"type": {"id": 1}, "type": 3}"#, "type.id"), None);
    assert_eq!(field(br#"{"id": 1"#, "id"), None);
    assert_eq!(field(br#"{"id": 1} x"#, "id"), None);
    assert_eq!(field(b"[{\"id\": 5}]", "0.id").as_deref(), Some("5"));
}

#[test]
fn a_value_that_cannot_be_read_is_none_and_takes_nothing_with_it() {
    let paths = ["id", "n", "t", "type.x"].map(Path::dotted).to_vec();
    let body = br#"{"id": "a", "n": 1e400, "t": "\ud800", "type": {"x": 1e400}}"#;
    let outline = Outline::of(body, &Wanted { paths, list: None });
    assert_eq!(outline.field("id").as_deref(), Some("a"));
    assert_eq!((outline.field("n").as_deref(), outline.field("t")), (Some("1e400"), None));
    assert_eq!(outline.summary.map(|summary| summary.key_count), Some(4));
    // On the way to a place it leaves no place found, but the body is still JSON.
    let body = br#"{"id": "a", "x": 1e400}"#;
    let paths = ["id", "x.y"].map(Path::dotted).to_vec();
    let outline = Outline::of(body, &Wanted { paths, list: None });
    assert_eq!((outline.field("id"), outline.summary.is_some()), (None, true));
}

#[test]
fn numbers_are_found_as_they_are_written() {
    for number in [
        "18446744073709551615",
        "18446744073709551616",
        "123456789012345678901234567890123",
        "123456789012345678901234567890124",
        "-123456789012345678901234567890124",
        "1.0",
        "1.50",
        "1e2",
        "1E+2",
        "-0",
        "0.1234567890123456789",
    ] {
        let body = format!("{{\"id\": {number} }}");
        assert_eq!(field(body.as_bytes(), "id").as_deref(), Some(number));
    }
}

#[test]
fn pointers_find_numbers_of_every_kind_and_the_whole() {
    let paths = ["", "/a~1b", "/n", "/list/1"].map(Path::pointer).to_vec();
    let body = br#"{"a/b": "x", "n": 1.5, "list": [1, 2]}"#;
    let outline = Outline::of(body, &Wanted { paths: paths.clone(), list: None });
    let texts: Vec<_> = paths.iter().map(|path| outline.text(path.as_str())).collect();
    assert_eq!(texts, [None, Some("x".into()), Some("1.5".into()), Some("2".into())]);
    let whole = Outline::of(b"\"x\"", &Wanted { paths, list: None });
    assert_eq!(whole.text("").as_deref(), Some("x"));
}

#[test]
fn the_list_of_events_is_found_beside_values_in_it() {
    let body = b"[ {\"id\": 1}, 2 ,[3]]";
    let paths = vec![Path::dotted("0.id")];
    let outline = Outline::of(body, &Wanted { paths, list: Some(Path::pointer("")) });
    let parts: Vec<_> = outline.list.iter().flatten().map(|place| &body[place.clone()]).collect();
    assert_eq!(parts, [&b"{\"id\": 1}"[..], b"2", b"[3]"]);
    assert_eq!(outline.field("0.id").as_deref(), Some("1"));
    assert_eq!(outline.summary.map(|summary| summary.key_count), Some(3));
}

#[test]
fn a_list_without_items_is_told_from_one_with_some() {
    for (body, is_empty) in [
        (r#"{"events": [ ]}"#, true),
        (r#"{"events": [0]}"#, false),
        (r#"{"events": {}}"#, false),
        ("{}", false),
    ] {
        let wanted = Wanted { paths: vec![Path::dotted("events")], list: None };
        let outline = Outline::of(body.as_bytes(), &wanted);
        assert_eq!(outline.is_empty_list("events"), is_empty, "{body}");
    }
}

#[test]
fn keys_are_counted_and_the_first_are_named() {
    let found = summary(br#"{"type": "invoice.paid", "amount": 1e400, "n": {"x": []}}"#);
    let keys = ["type", "amount", "n"].map(String::from).to_vec();
    let event_type = Some("invoice.paid".into());
    assert_eq!(found, Some(Summary { keys, key_count: 3, event_type }));
}

#[test]
fn any_json_has_a_summary_and_nothing_else_has() {
    for json in [
        "[1,2,3]",
        "null",
        "3.5",
        "\"text\"",
        "{\"type\": 7}",
        "true",
        "-1",
        "18446744073709551616",
    ] {
        assert!(summary(json.as_bytes()).is_some(), "{json}");
    }
    for other in ["", "not json", "{", "a=b&c=d", "{} {}"] {
        assert_eq!(summary(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn ten_thousand_keys_are_counted_not_kept() {
    let pairs: Vec<_> = (0..10_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let found = summary(format!("{{{}}}", pairs.join(",")).as_bytes()).unwrap();
    let kept = everhook_journal::event::KEYS_MAX;
    assert_eq!((found.key_count, found.keys.len()), (10_000, kept));
}
