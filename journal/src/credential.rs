//! Names that say that their value is a credential: of what is received and of what is sent.

/// Whether a header's name says so. The name is in lower case.
pub fn is_header(name: &str) -> bool {
    const PARTS: [&str; 24] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "api-key",
        "apikey",
        "access-key",
        "x-auth",
        "auth-key",
        "credential",
        "session",
        "jwt",
        "bearer",
        "oauth",
        "pwd",
        "passphrase",
        "assertion",
        "authentication",
        "subscription-key",
        "functions-key",
        "private-key",
        "hmac",
    ];
    // Too short to be looked for within other words.
    const WORDS: [&str; 2] = ["sas", "otp"];
    PARTS.iter().any(|part| name.contains(part)) || has_word(name, &WORDS)
}

/// Whether the name of a query parameter says so: these are shorter, and may be a signature's.
pub fn is_parameter(name: &str) -> bool {
    const NAMES: [&str; 8] = ["key", "auth", "code", "sig", "signature", "pass", "pwd", "jwt"];
    // A signed URL works for anyone who has the text.
    const WORDS: [&str; 2] = ["sig", "auth"];
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_signature = name.contains("signature") || has_word(&name, &WORDS);
    NAMES.contains(&name.as_str()) || is_signature || is_header(&name)
}

/// Whether one of these is a word of a name whose words are divided by hyphens.
fn has_word(name: &str, words: &[&str]) -> bool {
    name.split(|divider: char| !divider.is_ascii_alphanumeric()).any(|word| words.contains(&word))
}
