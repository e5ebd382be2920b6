//! Texts of strangers as a terminal may be given them: types, ids, messages and paths say what they like.

use std::borrow::Cow;

/// A text on one line, in which every character that would move the cursor, change the terminal's state or
/// reorder what is shown is written as `\u{…}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_hidden(c), |c| format!("\\u{{{:x}}}", u32::from(c)))
}

/// The same for several lines of ours; a line break of a stranger must not be among them.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |c| format!("\\u{{{:x}}}", u32::from(c)))
}

/// The same for JSON, which then still means what it meant.
pub fn json(text: &str) -> Cow<'_, str> {
    let escape = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    escaped(text, is_hidden, escape)
}

fn escaped(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    escape: impl Fn(char) -> String,
) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_escaped(c) {
            true => safe.push_str(&escape(c)),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters (C0 but the line break, DEL, C1), and those that Unicode has to reorder or hide text.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stranger may send, and what a terminal would do with it.
    const HOSTILE: [&str; 9] = [
        "\u{1b}[31mred",
        "\u{1b}]0;title\u{7}",
        "\u{9b}2J",
        "a\rb",
        "a\nexecution FORGED",
        "\u{202e}txt.exe",
        "\u{2066}isolated",
        "a\u{8}b\u{7f}",
        "tag\u{e0041}",
    ];

    #[test]
    fn nothing_a_stranger_sends_reaches_a_terminal() {
        for text in HOSTILE {
            let safe = line(text);
            assert!(!safe.chars().any(|c| c == '\n' || is_hidden(c)), "{safe:?}");
            assert!(safe.contains("\\u{"), "{safe:?}");
        }
        assert_eq!(line("a\u{1b}[0m"), "a\\u{1b}[0m");
        assert_eq!(lines("a\nb\u{9b}"), "a\nb\\u{9b}");
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for text in ["", "pull_request.opened", "Grüße, 世界 👩‍👩‍👧", "back\\slash"]
        {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn json_means_the_same_afterwards() {
        for text in HOSTILE {
            let written = serde_json::to_string_pretty(&[text]).unwrap();
            let safe = json(&written);
            assert!(!safe.chars().any(is_hidden), "{safe:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [text]);
        }
    }
}
