//! Outside text made harmless before it becomes part of an event (security rows S7 and S12).
//!
//! Every slice passes what a host, a tool or a repository said through here; renderers can then
//! print events without a second thought. Over-redaction costs a word of a log, under-redaction
//! a credential, so each rule takes the larger piece when in doubt. Pure text: no event, no host.

/// Longest line kept, in characters, the mark of the cut included.
pub const WIDTH: usize = 400;

/// How much of a line is looked at, in bytes: a host may send a mebibyte, and many of them.
const HEAD: usize = 10 * WIDTH;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// One line, redacted, without anything a terminal or a reader of bidirectional text obeys, cut
/// at [`WIDTH`].
pub fn line(text: &str) -> String {
    let text = head(text.trim_end_matches(['\n', '\r']));
    settled(visible(&text), |text| cut(&redact(text), WIDTH))
}

/// The beginning of a text that is too long to be looked at as a whole. It ends between words: the
/// half of a secret is not known as one.
fn head(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= HEAD {
        return text.into();
    }
    let head = &text[..text.floor_char_boundary(HEAD)];
    let word = head.rfind(|c: char| c.is_whitespace() || "\"'".contains(c));
    match word {
        Some(at) => format!("{}…", &head[..at]).into(),
        None => REDACTED.into(),
    }
}

/// Several lines, each harmless; the body of a private key that spans lines vanishes as a whole.
pub fn lines<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut inside_key = false;
    let mut kept = Vec::new();
    for text in texts {
        let begins = key_block(text).is_some();
        if !inside_key || begins {
            kept.push(line(text));
        }
        inside_key = (inside_key || begins) && !text.contains("-----END");
    }
    kept
}

/// The text with the value of every secret replaced by `[redacted]`.
pub fn redact(text: &str) -> String {
    settled(text.to_owned(), redacted_once)
}

/// Repeats until nothing changes, for one replacement may put the next secret's beginning in
/// sight. A text that does not come to rest is hostile and is not worth keeping.
fn settled(mut text: String, step: impl Fn(&str) -> String) -> String {
    for _ in 0..16 {
        let next = step(&text);
        if next == text {
            return text;
        }
        text = next;
    }
    REDACTED.to_owned()
}

fn redacted_once(text: &str) -> String {
    let text = match key_block(text) {
        Some(at) => without_key(text, at),
        None => text.to_owned(),
    };
    words(&user_info(&assignments(&text)))
}

/// Shortens to so many characters, the last of them the mark of the cut.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Shows every control character escaped; a tab is a space.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' {
            shown.push(' ');
        } else if obeyed(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a terminal or a text renderer would obey the character instead of showing it.
pub(crate) fn obeyed(c: char) -> bool {
    let direction = matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible = matches!(c,
        '\u{00ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
        | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}');
    c.is_control() || direction || invisible
}

/// Where a block with a private key begins.
fn key_block(text: &str) -> Option<usize> {
    let at = text.find("-----BEGIN")?;
    text[at..].contains("PRIVATE KEY").then_some(at)
}

/// From the beginning of the block to its end, or to the end of the text.
fn without_key(text: &str, at: usize) -> String {
    let rest = text[at..].find("-----END").and_then(|end| {
        let after = at + end + "-----END".len();
        text[after..].find("-----").map(|dashes| &text[after + dashes + "-----".len()..])
    });
    format!("{}{REDACTED}{}", &text[..at], rest.unwrap_or_default())
}

/// A word after which a value is a secret.
struct Key {
    word: &'static str,
    /// Whether `:` is as good as `=`.
    colon: bool,
    /// Whether the secret goes on to the end of the line.
    whole_line: bool,
}

const fn key(word: &'static str, colon: bool, whole_line: bool) -> Key {
    Key { word, colon, whole_line }
}

/// Longer words stand before those they contain.
const KEYS: [Key; 14] = [
    key("access-tokens", true, true),
    key("authorization", true, true),
    key("set-cookie", true, true),
    key("cookie", true, true),
    key("netrc", false, true),
    key("password", true, false),
    key("passphrase", true, false),
    key("passwd", true, false),
    key("secret", true, false),
    key("api-key", true, false),
    key("api_key", true, false),
    key("apikey", true, false),
    key("secret_access_key", true, false),
    key("token", false, false),
];

/// Replaces the value in `token=VALUE`, `password: VALUE`, `"token": "VALUE"`, `--token VALUE`.
fn assignments(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    let login = lower.find("login ");
    for (at, key) in keys(&lower) {
        let after = at + key.word.len();
        // netrc(5): `login NAME password SECRET`
        let option = lower[..at].ends_with("--")
            || (key.word == "password" && login.is_some_and(|login| login < at));
        // A key inside of what was taken out may have its value behind that.
        if let Some((start, end)) = value(text, after, key, option)
            && start.max(from) < end
        {
            shown.push_str(&text[from..start.max(from)]);
            shown.push_str(REDACTED);
            from = end;
        }
    }
    shown.push_str(&text[from..]);
    shown
}

/// Every place where a word of [`KEYS`] stands, and the longest that stands there; one look at
/// each byte, for the text may be hostile.
fn keys(lower: &str) -> impl Iterator<Item = (usize, &'static Key)> {
    let begins = |c: u8| matches!(c, b'a' | b'c' | b'n' | b'p' | b's' | b't');
    let places = lower.bytes().enumerate().filter(move |(_, c)| begins(*c));
    places.filter_map(|(at, _)| {
        let here = KEYS.iter().filter(|k| lower.as_bytes()[at..].starts_with(k.word.as_bytes()));
        Some((at, here.max_by_key(|k| k.word.len())?))
    })
}

/// Bytes of the value that follows a key, if what follows is an assignment at all.
fn value(text: &str, after: usize, key: &Key, option: bool) -> Option<(usize, usize)> {
    let rest = &text[after..];
    let unquoted = rest.trim_start_matches(['"', '\'', '\\']);
    let closed_quote = unquoted.len() < rest.len();
    let sep = unquoted.trim_start_matches(' ');
    let colon = key.colon || closed_quote;
    let assigned = sep.strip_prefix('=').or_else(|| sep.strip_prefix(':').filter(|_| colon));
    let value = match assigned {
        Some(value) => value.trim_start_matches(' '),
        None if option && rest.starts_with(' ') => rest.trim_start_matches(' '),
        None => return None,
    };
    let start = text.len() - value.len();
    let open = value.trim_start_matches('\\');
    let quote = open.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        let inner = start + (value.len() - open.len()) + 1;
        let end = text[inner..].find(quote).map_or(text.len(), |e| inner + e);
        return Some((inner, end));
    }
    let end = match key.whole_line {
        true => value.find(['"', '\'']),
        false => value.find(|c: char| c.is_whitespace() || "&,;\"'".contains(c)),
    };
    Some((start, end.map_or(text.len(), |e| start + e)))
}

/// Replaces `USER:PASSWORD` and `TOKEN` before the `@` of a URL. The login name of an ssh URL
/// is no secret and stands in half of our own messages.
fn user_info(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at + 3) {
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>".contains(c);
        let authority = &text[at..text[at..].find(ends).map_or(text.len(), |e| at + e)];
        let scheme = text[from..at - 3].rsplit(|c: char| !c.is_ascii_alphabetic()).next();
        let ssh = scheme.is_some_and(|s| s.ends_with("ssh") || s == "ng");
        shown.push_str(&text[from..at]);
        from = at;
        if let Some(end) = authority.rfind('@')
            && end > 0
            && (!ssh || authority[..end].contains(':'))
        {
            shown.push_str(REDACTED);
            from = at + end;
        }
    }
    shown.push_str(&text[from..]);
    shown
}

/// Words that are secrets by their form: their beginning, and how many characters must follow.
const FORMS: [(&str, usize); 12] = [
    ("AGE-SECRET-KEY-1", 1),
    ("age-secret-key-1", 1),
    ("github_pat_", 6),
    ("ghp_", 6),
    ("gho_", 6),
    ("ghu_", 6),
    ("ghs_", 6),
    ("ghr_", 6),
    ("glpat-", 6),
    ("tskey-", 6),
    ("xoxb-", 6),
    ("eyJ", 40),
];

/// Replaces words that are secrets by their form, and what follows `Bearer` and `Basic`.
fn words(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.+/=:".contains(c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let mut scheme = false;
    while let Some(first) = rest.chars().next() {
        if !part(first) {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
            scheme &= first == ' ';
            continue;
        }
        let end = rest.find(|c: char| !part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        match secret_at(word) {
            _ if scheme => shown.push_str(REDACTED),
            Some(at) => shown.extend([&word[..at], REDACTED]),
            None => shown.push_str(word),
        }
        scheme = !scheme && matches!(word, "Bearer" | "bearer" | "Basic");
        rest = &rest[end..];
    }
    shown
}

/// Where the secret in a word begins.
fn secret_at(word: &str) -> Option<usize> {
    let form = FORMS.iter().filter_map(|(form, least)| {
        let at = word.find(form)?;
        (word.len() - at - form.len() >= *least).then_some(at)
    });
    form.min().or_else(|| signing_key(word))
}

/// `NAME:` and 64 bytes in base 64: a key that signs store paths. A public key has 32 bytes.
fn signing_key(word: &str) -> Option<usize> {
    let at = word.find(':')? + 1;
    (word[at..].len() == 88 && word.ends_with("==")).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "C4naryC4naryC4nary";

    /// Every way a canary may be dressed.
    fn dressed() -> Vec<String> {
        let c = CANARY;
        let age = format!("AGE-SECRET-KEY-1{}", c.to_uppercase());
        [
            format!("GITHUB_TOKEN={c}"),
            format!("curl --token {c} https://x"),
            format!("?token={c}&x=1"),
            format!("\"token\": \"{c}\""),
            format!("{{\\\"token\\\":\\\"{c}\\\"}}"),
            format!("Authorization: Bearer {c}"),
            format!("authorization: Basic {c} {c}"),
            format!("sent Bearer {c}"),
            format!("password = {c}"),
            format!("password: {c}"),
            format!("DB_PASSWORD='{c} {c}'"),
            format!("access-tokens = github.com={c} gitlab.com=PAT:{c}"),
            format!("https://user:{c}@cache.example.org/nix"),
            format!("git+https://{c}@github.com/x/y"),
            format!("ssh://root:{c}@p620"),
            format!("ghp_{c}"),
            format!("x=github_pat_{c}_{c}"),
            format!("tskey-auth-{c}"),
            format!("cache.example.org-1:{}==", c.repeat(5).get(..86).expect("86 characters")),
            format!("-----BEGIN OPENSSH PRIVATE KEY-----{c}"),
            format!("-----BEGIN PRIVATE KEY-----{c}-----END PRIVATE KEY----- token={c}"),
            age,
        ]
        .into()
    }

    #[test]
    fn canaries_vanish_and_the_rest_stays() {
        for secret in dressed() {
            let shown = line(&format!("before {secret}"));
            assert!(!shown.to_lowercase().contains(&CANARY.to_lowercase()), "{shown}");
            assert!(shown.starts_with("before ") && shown.contains(REDACTED), "{shown}");
            assert!(!secret.is_empty());
        }
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in [
            "copying 52 paths to ssh-ng://root@p620",
            "error: syntax error, unexpected token: '='",
            "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
            "grafana-12.0: 31 of 44",
            "the secretary and the cookies are tokens",
            "sha256-AAAA+BBBB/CCCC=",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        assert_eq!(line("a\u{1b}]0;x\u{7}b\r\n"), "a\\u{1b}]0;x\\u{7}b");
        assert_eq!(line("a\u{202e}b\u{200b}c\td"), "a\\u{202e}b\\u{200b}c d");
        assert_eq!(line(&"x".repeat(500)).chars().count(), WIDTH);
        assert!(line(&"x".repeat(500)).ends_with('…'));
    }

    #[test]
    fn a_key_over_several_lines_vanishes_as_a_whole() {
        let text = ["a", "-----BEGIN PRIVATE KEY-----", CANARY, "-----END PRIVATE KEY-----", "b"];
        assert_eq!(lines(text), ["a", REDACTED, "b"]);
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            ".{0,300}",
            "[ :=\"'@/a-z\\\\-]{0,30}",
            Just("://".to_owned()),
            Just("token".to_owned()),
            Just("[redacted]".to_owned()),
            Just("-----BEGIN PRIVATE KEY-----END-----".to_owned()),
            proptest::sample::select(dressed()),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn lines_are_harmless(text in hostile()) {
            let shown = line(&text);
            prop_assert!(shown.chars().count() <= WIDTH);
            prop_assert!(!shown.chars().any(obeyed));
            prop_assert_eq!(line(&shown), shown.clone());
        }

        #[test]
        fn redaction_is_done_once(text in hostile()) {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once.clone());
        }

        #[test]
        fn a_canary_among_words_vanishes(
            before in "[a-z .,]{0,40}", at in 0..dressed().len(), after in "( [a-z.,]{0,40})?"
        ) {
            let shown = line(&format!("{before} {}{after}", dressed()[at]));
            prop_assert!(!shown.to_lowercase().contains(&CANARY.to_lowercase()), "{}", shown);
        }
    }
}
