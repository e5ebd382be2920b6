//! The address a sender signs. It is configured: what a request says of its host proves nothing.

/// The public URL with a request's query. One that has a query of its own stands for itself.
pub(super) fn with_query(public_url: &str, query: &str) -> String {
    if query.is_empty() || public_url.contains('?') {
        return public_url.to_owned();
    }
    format!("{public_url}?{query}")
}

/// The URL as HubSpot signs it: with exactly these characters decoded.
pub(super) fn decoded(url: &str) -> String {
    const DECODED: [(&str, char); 12] = [
        ("%3A", ':'),
        ("%2F", '/'),
        ("%3F", '?'),
        ("%40", '@'),
        ("%21", '!'),
        ("%24", '$'),
        ("%27", '\''),
        ("%28", '('),
        ("%29", ')'),
        ("%2A", '*'),
        ("%2C", ','),
        ("%3B", ';'),
    ];
    let mut text = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = rest.get(at..at + 3);
        let known = DECODED
            .iter()
            .find(|(known, _)| code.is_some_and(|code| code.eq_ignore_ascii_case(known)));
        match known {
            Some((_, character)) => {
                text.push(*character);
                rest = &rest[at + 3..];
            }
            None => {
                text.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

/// The forms of a URL that Twilio may have signed: with and without the port of its scheme,
/// each as it is and as browsers write it.
pub(super) fn twilio_forms(url: &str) -> Vec<String> {
    let ports = [url.to_owned(), without_port(url), with_port(url)];
    let all = ports.into_iter().flat_map(|form| {
        let browsers = as_browsers_write(&form);
        [form, browsers]
    });
    let mut forms = Vec::new();
    for form in all {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// The URL with the query of one of its forms. The port stays as it is configured, whatever the form has.
pub(super) fn with_query_of(url: &str, form: &str) -> String {
    let (base, _) = url.split_once('?').unwrap_or((url, ""));
    match form.split_once('?') {
        Some((_, query)) => format!("{base}?{query}"),
        None => base.to_owned(),
    }
}

/// Scheme, authority and the rest.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

fn port_at(authority: &str) -> Option<usize> {
    let at = authority.rfind(':')?;
    let port = &authority[at + 1..];
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(at)
}

fn without_port(url: &str) -> String {
    match split(url) {
        Some((scheme, authority, rest)) => {
            let end = port_at(authority).unwrap_or(authority.len());
            format!("{scheme}://{}{rest}", &authority[..end])
        }
        None => url.to_owned(),
    }
}

fn with_port(url: &str) -> String {
    match split(url) {
        Some((scheme, authority, rest)) if port_at(authority).is_none() => {
            let port = if scheme == "http" { 80 } else { 443 };
            format!("{scheme}://{authority}:{port}{rest}")
        }
        Some(_) | None => url.to_owned(),
    }
}

/// The query with those characters encoded that the URL standard encodes there.
fn as_browsers_write(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let mut text = format!("{path}?");
    for byte in query.bytes() {
        match byte {
            b'!' | b'$'..=b'&' | b'('..=b';' | b'=' | b'?'..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_added_to_a_url_without_one() {
        assert_eq!(with_query("https://a.example/x", "b=1"), "https://a.example/x?b=1");
        assert_eq!(with_query("https://a.example/x", ""), "https://a.example/x");
        assert_eq!(with_query("https://a.example/x?c=2", "b=1"), "https://a.example/x?c=2");
    }

    #[test]
    fn hubspot_decodes_its_list_and_nothing_else() {
        assert_eq!(decoded("/a%2Fb%3a%20%é%"), "/a/b:%20%é%");
        assert_eq!(decoded("%252F"), "%252F");
    }

    #[test]
    fn a_form_gives_a_url_its_query_and_not_its_port() {
        for url in
            ["https://a.example:8443/x?q='", "https://a.example/x?q=%27", "https://a.example/x"]
        {
            let (base, _) = url.split_once('?').unwrap_or((url, ""));
            for form in twilio_forms(url) {
                let (_, query) = form.split_once('?').unwrap_or_default();
                let expected =
                    if query.is_empty() { base.into() } else { format!("{base}?{query}") };
                assert_eq!(with_query_of(url, &form), expected);
            }
        }
    }

    #[test]
    fn twilio_may_sign_with_or_without_the_port() {
        assert_eq!(
            twilio_forms("https://a.example:1234/x"),
            ["https://a.example:1234/x", "https://a.example/x"]
        );
        assert_eq!(
            twilio_forms("http://a.example/x"),
            ["http://a.example/x", "http://a.example:80/x"]
        );
        assert_eq!(twilio_forms("https://a.example?q=It's")[1], "https://a.example?q=It%27s");
    }
}
