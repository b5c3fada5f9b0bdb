//! What a secret looks like in a text: tokens of known services, private keys, and what is assigned
//! to a name that says so. Pure.

use std::ops::Range;

use super::wording;

/// How a token begins, and which characters besides letters and digits it may hold.
const PREFIXES: [(&str, &str, &str); 13] = [
    ("ghp_", "", "GitHub token"),
    ("gho_", "", "GitHub token"),
    ("ghu_", "", "GitHub token"),
    ("ghs_", "", "GitHub token"),
    ("ghr_", "", "GitHub token"),
    ("github_pat_", "_", "GitHub token"),
    ("glpat-", "_-.", "GitLab token"),
    ("AKIA", "", "AWS access key"),
    ("sk-ant-", "_-", "Anthropic key"),
    ("sk-proj-", "_-", "OpenAI key"),
    ("AGE-SECRET-KEY-1", "", "age identity"),
    ("tskey-", "-", "Tailscale key"),
    ("xox", "-", "Slack token"),
];
/// What a text must hold one of to hold a token or a key.
pub(super) const SIGNS: [&str; PREFIXES.len() + 1] = {
    let mut signs = ["PRIVATE KEY"; PREFIXES.len() + 1];
    let mut at = 0;
    while at < PREFIXES.len() {
        signs[at] = PREFIXES[at].0;
        at += 1;
    }
    signs
};
/// Shorter runs are names, not tokens.
const SHORTEST: usize = 16;
/// Fewer different characters are a placeholder.
const VARIETY: usize = 6;

/// The first token in a text.
pub(super) fn token_in(text: &str) -> Option<(Range<usize>, &'static str)> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'g' | b'A' | b's' | b't' | b'x') {
            continue;
        }
        let inner = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        if at > 0 && inner(&bytes[at - 1]) && !escaped(bytes, at) {
            continue;
        }
        let rest = &text[at..];
        let prefix = PREFIXES.iter().find(|(prefix, _, _)| rest.starts_with(prefix));
        let Some((prefix, more, kind)) = prefix else { continue };
        let body = &rest[prefix.len()..];
        if *prefix == "xox" && !slack(body) {
            continue;
        }
        let part = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        let length = body.find(|c| !part(c)).unwrap_or(body.len());
        if length >= SHORTEST && various(&body[..length]) {
            return Some((at..at + prefix.len() + length, kind));
        }
    }
    None
}

/// Whether the letter before is that of an escape such as `\n`.
fn escaped(bytes: &[u8], at: usize) -> bool {
    at >= 2 && bytes[at - 2] == b'\\' && matches!(bytes[at - 1], b'n' | b't' | b'r')
}

/// `xoxb-`, `xoxp-` and so on, with numbers after it.
fn slack(body: &str) -> bool {
    let mut chars = body.chars();
    let kind = chars.next().is_some_and(|c| "abcdeprs".contains(c));
    let mut token = chars.as_str().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-');
    kind && token.next() == Some('-') && token.any(|c| c.is_ascii_digit())
}

/// Whether a run of characters looks drawn by lot, and no placeholder or example.
fn various(body: &str) -> bool {
    const EXAMPLES: [&str; 9] = [
        "example",
        "your",
        "placeholder",
        "changeme",
        "change-me",
        "redacted",
        "xxxx",
        "insert",
        "dummy",
    ];
    let lower = body.to_ascii_lowercase();
    let mut seen: Vec<u8> = lower.bytes().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() >= VARIETY && !EXAMPLES.iter().any(|word| lower.contains(word))
}

/// A private key in a text: its header with something of a key after it, or as a value by itself.
pub(super) fn key_in(text: &str, alone: bool) -> Option<(Range<usize>, &'static str)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("-----BEGIN ") {
        let at = from + found;
        from = at + 11;
        let Some(end) = text[from..].find("-----").map(|n| from + n) else { break };
        let label = &text[from..end];
        let words = label.trim_end_matches(" BLOCK");
        let is_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
        if !words.ends_with("PRIVATE KEY") || !label.chars().all(is_label) {
            continue;
        }
        let rest = &text[end + 5..];
        let body = rest.trim_start();
        let body = body.strip_prefix("\\n").unwrap_or(body);
        let parted = body.len() < rest.len();
        let run = body.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
        let run = &body[..run.unwrap_or(body.len())];
        let only = alone && body.is_empty() && text[..at].trim().is_empty();
        let begins = parted && run.len() >= 4 && distinct(run) >= 3;
        if only || begins {
            return Some((at..end + 5, "private key"));
        }
    }
    None
}

fn distinct(text: &str) -> usize {
    let mut bytes: Vec<u8> = text.bytes().collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes.len()
}

/// Where a text holds what may be a secret, read without regard to syntax: nothing of it may be
/// shown, and too much is better than too little.
pub(super) fn written(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((range, _)) = token_in(&text[at..]) {
        found.push(at + range.start..at + range.end);
        at += range.end;
    }
    for (start, _) in text.match_indices("PRIVATE KEY") {
        let end = text[start..].find("-----END").map_or(text.len(), |n| start + n);
        found.push(start + "PRIVATE KEY".len()..end.min(start + KEY_LIMIT).max(start + 11));
    }
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        found.extend(assigned(line).map(|r| offset + r.start..offset + r.end));
        offset += line.len();
    }
    found
}

/// No private key is longer.
const KEY_LIMIT: usize = 16 << 10;

/// The strings on a line that are assigned to the name of a secret.
fn assigned(line: &str) -> impl Iterator<Item = Range<usize>> {
    let equals = line.match_indices('=').map(|(at, _)| at);
    equals.filter_map(move |at| {
        let name = line[..at].trim_end();
        let other = |c: char| !(c.is_alphanumeric() || "_-'\"".contains(c));
        let name = name.rsplit(other).next().unwrap_or_default();
        let after = &line[at + 1..];
        // A look at the next letter alone: of a line that is one file there may be many to do.
        let value = after.trim_start();
        let quote = value.starts_with('"').then(|| after.len() - value.len())?;
        let secret = wording::names_a_secret(name) || wording::words(name).contains(&"pass".into());
        let end = after[quote + 1..].find('"').map_or(line.len(), |n| at + 2 + quote + n);
        secret.then(|| at + 2 + quote..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_found_in_any_text() {
        let token = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
        for (text, secret) in [
            ("{ a.password = \"hunter2\" }".to_owned(), "hunter2"),
            ("x \"api-key\"=\"hunter2".to_owned(), "hunter2"),
            (format!("x {token}"), token.as_str()),
            ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END".to_owned(), "hunter2"),
        ] {
            let at = text.find(secret).expect("there");
            let covers = |r: Range<usize>| r.start <= at && at + secret.len() <= r.end;
            assert!(written(&text).into_iter().any(covers), "{text}");
        }
        assert!(written("{ a = 1; \u{9b}31m = \"x\"; }").is_empty());
        assert!(written("{ a = \"b\"; token = x; }").is_empty());
    }
}
