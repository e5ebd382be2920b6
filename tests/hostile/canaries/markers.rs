//! Words that occur nowhere else, and their disguises.

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

/// A word that occurs nowhere else.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    pub(super) name: &'static str,
    pub(super) text: String,
    is_secret: bool,
}

impl Marker {
    fn new(name: &'static str, is_secret: bool) -> Self {
        Self { name, text: format!("Canary{:Q<26}", name.replace(' ', "")), is_secret }
    }

    /// Where it is in a text: as it is, in hexadecimal, or in base64 at any offset.
    pub(super) fn found_in(&self, text: &str) -> Option<String> {
        let bytes = self.text.as_bytes();
        let mut disguises = vec![self.text.clone(), HEXLOWER.encode(bytes), HEXUPPER.encode(bytes)];
        for before in 0..3 {
            let whole = BASE64.encode(&[&b"\0\0\0"[..before], bytes].concat());
            // The first and the last characters depend on what is around it.
            disguises.push(whole[4..whole.len() - 4].to_owned());
        }
        let hit = disguises.iter().find_map(|disguise| text.find(disguise.as_str()))?;
        let from = (0..=hit.saturating_sub(80)).rev().find(|at| text.is_char_boundary(*at))?;
        Some(text[from..].chars().take(200).collect())
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Markers(Vec<Marker>);

impl Markers {
    pub(super) fn new() -> Self {
        let data = ["body", "header", "cookie", "signature", "query", "answer", "reply"];
        let secrets = [
            "source secret",
            "step secret",
            "step header",
            "step query",
            "execution key",
            "callback key",
            "token guess",
        ];
        let data = data.into_iter().map(|name| Marker::new(name, false));
        Self(data.chain(secrets.into_iter().map(|name| Marker::new(name, true))).collect())
    }

    /// The word of this name.
    pub(super) fn text(&self, name: &str) -> &str {
        &self.0.iter().find(|marker| marker.name == name).unwrap().text
    }

    pub(super) fn all(&self) -> Vec<&Marker> {
        self.0.iter().collect()
    }

    pub(super) fn secrets(&self) -> Vec<&Marker> {
        self.0.iter().filter(|marker| marker.is_secret).collect()
    }
}

#[test]
fn a_marker_is_found_in_every_disguise() {
    let marker = Marker::new("body", false);
    let bytes = marker.text.as_bytes();
    for text in [
        format!("a {} b", marker.text),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        BASE64.encode(bytes),
        BASE64.encode(format!("a{} b", marker.text).as_bytes()),
        BASE64.encode(format!("ab{}", marker.text).as_bytes()),
        data_encoding::BASE64URL_NOPAD.encode(format!("{{\"a\":\"{}\"}}", marker.text).as_bytes()),
    ] {
        assert!(marker.found_in(&text).is_some(), "{text}");
    }
    assert_eq!(marker.found_in(&marker.text[1..]), None);
}
