//! A title taken apart: what it is about by its own word, and its words one by one.

/// A title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    /// What it says it is about: what stands before the first colon, in brackets, or behind
    /// `Build failure:`. Several where braces are expanded; none: it does not say.
    pub(super) subject: Vec<String>,
    /// The subject was written behind `nixos/`.
    pub(super) module: bool,
    /// It tells of a build that fails.
    pub(super) build_failure: bool,
    /// Everything behind the subject; all of it when there is none.
    pub(super) rest: String,
    /// The words of the whole.
    pub(super) words: Vec<Token>,
    /// How many of them belong to the subject.
    pub(super) subject_words: usize,
}

/// A word or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits and what joins them within a name.
    Word(String),
    /// Something else that counts: `<`, `>=`, `->`, `+`, `,`, `(`, `)`, `:`.
    Sign(&'static str),
}

impl Token {
    /// Its text as a name is looked up; nothing for a sign.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Word(word) => normal(word),
            Self::Sign(_) => String::new(),
        }
    }

    /// Its text in lower case.
    pub(super) fn lower(&self) -> String {
        match self {
            Self::Word(word) => word.to_lowercase(),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}

/// A name as names are compared: lower case, one kind of dash.
pub(super) fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

impl Title {
    /// Reads a title.
    pub(super) fn read(text: &str) -> Self {
        let (text, build_failure) = without_failure(text.trim());
        let (text, bracket) = without_brackets(text);
        let (subject, rest) = match text.split_once(':') {
            Some((before, behind)) if is_subject(before) => (Some(before.trim()), behind),
            _ if build_failure => {
                let end = text.find(char::is_whitespace).unwrap_or(text.len());
                (Some(&text[..end]), &text[end..])
            }
            _ => (None, text),
        };
        let subject = subject.or(bracket).map(|s| s.trim_matches(['`', '"', '\'', ' ']));
        let module = subject.is_some_and(|s| s.starts_with("nixos/"));
        let own = subject.map(|s| s.strip_prefix("nixos/").unwrap_or(s));
        let subject = own.map(expand).unwrap_or_default();
        let behind = tokens(rest);
        let mut words = own.map(tokens).unwrap_or_default();
        let subject_words = words.len();
        if !words.is_empty() {
            words.push(Token::Sign(":"));
        }
        words.extend(behind);
        Self { subject, module, build_failure, rest: rest.trim().to_owned(), words, subject_words }
    }

    /// The words behind the subject, or all.
    pub(super) fn behind(&self) -> &[Token] {
        &self.words[(self.subject_words + usize::from(self.subject_words > 0))..]
    }
}

/// One word, or a few that a list or braces join; a sentence with a colon has no subject.
fn is_subject(text: &str) -> bool {
    let text = text.trim();
    let words = text.split_whitespace().count();
    let listed = text.contains('{') || text.contains(',') || text.contains('/');
    words > 0 && (words <= 2 || listed && words <= 6)
}

fn without_failure(text: &str) -> (&str, bool) {
    let lower = text.to_ascii_lowercase();
    for prefix in ["build failure:", "build failure of", "build failure", "build fail:"] {
        if lower.starts_with(prefix) {
            return (text[prefix.len()..].trim_start(), true);
        }
    }
    (text, false)
}

/// Takes `[26.05]`, `[regression]` away from the front; what stands in the last pair may be what
/// it is about.
fn without_brackets(mut text: &str) -> (&str, Option<&str>) {
    let mut within = None;
    while let Some((inside, behind)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        within = Some(inside.trim()).filter(|i| !i.is_empty());
        text = behind.trim_start_matches([' ', ':', '-']);
    }
    (text, within)
}

/// `a-{b,c}-d` to its words; `a, b` and `a/b` too.
fn expand(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    let mut part = String::new();
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (matches!(c, ',' | '/' | '&') || c.is_whitespace()) {
            found.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    found.push(part);
    let all = found.iter().flat_map(|part| braces(part));
    let clean = |p: String| p.trim_matches(['`', '"', '\'', '(', ')', '.', '+']).to_owned();
    all.map(clean).filter(|p| !p.is_empty()).take(16).collect()
}

fn braces(part: &str) -> Vec<String> {
    let pair = part.find('{').and_then(|at| Some((at, at + part[at..].find('}')?)));
    let Some((from, to)) = pair else { return vec![part.replace(['{', '}'], "")] };
    let (head, tail) = (&part[..from], &part[to + 1..]);
    let tail = tail.replace(['{', '}'], "");
    part[from + 1..to].split(',').map(|one| format!("{head}{}{tail}", one.trim())).collect()
}

/// Words and signs; whatever else stands between them only parts them.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        if c.is_alphanumeric() {
            let end = rest.find(|c: char| !in_word(c)).unwrap_or(rest.len());
            // `->` behind a word is no part of it, nor is the full stop of a sentence.
            let word = rest[..end].trim_end_matches(['.', '-', '_', '+']);
            found.push(Token::Word(word.to_owned()));
            rest = &rest[word.len()..];
        } else if let Some((sign, meaning)) = sign {
            found.push(Token::Sign(meaning));
            rest = &rest[sign.len()..];
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || "-_.+".contains(c)
}

const SIGNS: [(&str, &str); 15] = [
    ("->", "->"),
    ("=>", "->"),
    ("→", "->"),
    (">=", ">="),
    ("≥", ">="),
    ("<=", "<="),
    ("≤", "<="),
    ("<", "<"),
    (">", ">"),
    ("+", "+"),
    (",", ","),
    ("(", "("),
    (")", ")"),
    (":", ":"),
    ("#", "#"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_title_says_what_it_is_about() {
        for (title, subject, module, build) in [
            ("vscode : Syntax broken", &["vscode"][..], false, false),
            ("nixos/libvirt: no virtiofsd", &["libvirt"], true, false),
            ("[26.05] nextcloud: broken", &["nextcloud"], false, false),
            ("[kernel] 6.16.9 - not booting", &["kernel"], false, false),
            ("Build failure: blender-4.0.2", &["blender-4.0.2"], false, true),
            ("Build failure: ollama (ROCm)", &["ollama"], false, true),
            ("Build failure: `x`", &["x"], false, true),
            ("a-{b,c}-unwrapped: x", &["a-b-unwrapped", "a-c-unwrapped"], false, false),
            (
                "kdePackages.{kwin, plasma}: x",
                &["kdePackages.kwin", "kdePackages.plasma"],
                false,
                false,
            ),
            ("firefox, thunderbird: x", &["firefox", "thunderbird"], false, false),
            ("Immich login fails", &[], false, false),
            ("It happened again: no boot", &[], false, false),
            ("", &[], false, false),
        ] {
            let read = Title::read(title);
            assert_eq!(read.subject, subject, "{title}");
            assert_eq!((read.module, read.build_failure), (module, build), "{title}");
        }
    }

    #[test]
    fn words_keep_what_joins_them() {
        let words = tokens("x: 3.5.7+ -> git-wt, v1.2. >=2 (a_b)");
        let said: Vec<String> = words.iter().map(Token::lower).collect();
        let expected =
            ["x", ":", "3.5.7", "+", "->", "git-wt", ",", "v1.2", ">=", "2", "(", "a_b", ")"];
        assert_eq!(said, expected);
    }

    proptest! {
        #[test]
        fn every_title_can_be_read(text in any::<String>()) {
            let title = Title::read(&text);
            prop_assert!(title.behind().len() <= title.words.len());
        }
    }
}
