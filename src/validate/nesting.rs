//! How deep the parser would recurse on a text, told from its tokens alone. Pure.
//!
//! `rnix` bounds expressions inside expressions to 512, but lists in lists, chains of operators,
//! `or` and signs recurse (or make trees whose release recurses) without a bound. Each such level
//! costs at least one token, so the tokens of all open brackets, counted since the last separator
//! of each, are an upper bound on the depth.

use rnix::SyntaxKind;

/// Deepest that is parsed: the time that `rnix` and `rowan` take grows with its square. Nix goes on
/// to about 10,000 nested brackets, and longer chains of operators; nobody writes either.
const LIMIT: usize = 2_000;
/// Most steps that `rnix` may take to tell paths from words: at each word it looks to the end of
/// all that could be a path, so the steps of a run of such letters grow with its square.
const STEPS: usize = 500_000_000;
/// Stack for a thread that parses: more than [`LIMIT`] levels need, also unoptimised. Only what
/// is used becomes memory.
pub(super) const STACK: usize = 64 << 20;

/// What tokens mean at a level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Between a string's quotes: its parts stand side by side.
    Text,
    /// Between `[` and `]`: elements stand side by side, only `or` chains them.
    List,
    /// Anywhere else: any token may be one level deeper.
    Plain,
    /// Between `inherit` and `;`: names stand side by side.
    Names,
}

/// Whether a text has so few tokens that it cannot be too deep, by a look at its characters.
pub(super) fn is_shallow(text: &str) -> bool {
    let (mut most, mut within) = (0_usize, false);
    for byte in text.bytes() {
        let word = byte.is_ascii_alphanumeric() || byte == b'_';
        most += match byte {
            b' ' | b'\n' | b'\t' | b'\r' => 0,
            _ if word && within => 0,
            // `1a` are two tokens; a bracket counts as one and opens a level; between two quotes
            // may be blanks alone, which are a token too.
            b'0'..=b'9' | b'[' | b'(' | b'{' | b'"' => 2,
            _ => 1,
        };
        within = word;
    }
    most <= LIMIT
}

/// Where a text has a run of words without a blank that takes `rnix` too long to part.
pub(super) fn endless_run(text: &str) -> Option<usize> {
    let path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'.' | b'+' | b'-');
    let (bytes, mut at) = (text.as_bytes(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = rest.iter().position(|b| !path(*b)).unwrap_or(rest.len());
        let words = rest[..length].iter().filter(|b| matches!(b, b'.' | b'+' | b'/' | b'-'));
        if words.count().saturating_mul(length) > STEPS {
            return Some(at);
        }
        at += length + 1;
    }
    None
}

/// Whether tokens of these kinds are nested too deep to be parsed.
pub(super) fn is_too_deep(kinds: impl Iterator<Item = SyntaxKind> + Clone) -> bool {
    // No token adds more than two; what opens nothing adds one.
    let most = kinds.clone().map(|kind| match kind {
        SyntaxKind::TOKEN_WHITESPACE | SyntaxKind::TOKEN_COMMENT => 0,
        SyntaxKind::TOKEN_IDENT | SyntaxKind::TOKEN_SEMICOLON | SyntaxKind::TOKEN_ASSIGN => 1,
        _ => 2,
    });
    let mut scan = Scan::default();
    most.sum::<usize>() > LIMIT && { kinds }.any(|kind| scan.too_deep(kind))
}

/// How deep a text is, told token by token.
pub(super) struct Scan {
    /// Open brackets, and what stands chained in each; both add up to the depth.
    levels: Vec<(Level, usize)>,
    depth: usize,
    /// The last token was `.` or `or`: the next belongs to the same element of a list.
    linked: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { levels: vec![(Level::Plain, 0)], depth: 0, linked: false }
    }
}

impl Scan {
    /// Takes the next token; true where the text becomes too deep to be parsed.
    pub(super) fn too_deep(&mut self, kind: SyntaxKind) -> bool {
        if kind != SyntaxKind::TOKEN_WHITESPACE && kind != SyntaxKind::TOKEN_COMMENT {
            self.take(kind);
        }
        self.depth > LIMIT
    }

    fn take(&mut self, kind: SyntaxKind) {
        use SyntaxKind::{
            TOKEN_COMMA, TOKEN_DOT, TOKEN_ELSE, TOKEN_IN, TOKEN_INHERIT, TOKEN_INTERPOL_END,
            TOKEN_INTERPOL_START, TOKEN_L_BRACE, TOKEN_L_BRACK, TOKEN_L_PAREN, TOKEN_OR,
            TOKEN_R_BRACE, TOKEN_R_BRACK, TOKEN_R_PAREN, TOKEN_SEMICOLON, TOKEN_STRING_END,
            TOKEN_STRING_START, TOKEN_THEN,
        };
        let chained = matches!(kind, TOKEN_DOT | TOKEN_OR);
        match kind {
            TOKEN_R_BRACE | TOKEN_R_BRACK | TOKEN_R_PAREN | TOKEN_INTERPOL_END
            | TOKEN_STRING_END => self.close(),
            TOKEN_SEMICOLON => {
                if self.level() == Level::Names {
                    self.close();
                }
                self.reset();
            }
            // What stands before these is complete; expressions that go on after them are counted
            // by rnix itself.
            TOKEN_COMMA | TOKEN_THEN | TOKEN_ELSE | TOKEN_IN => self.reset(),
            _ => self.count(kind == TOKEN_OR, chained || self.linked),
        }
        match kind {
            TOKEN_L_BRACK => self.open(Level::List),
            TOKEN_L_BRACE | TOKEN_L_PAREN | TOKEN_INTERPOL_START => self.open(Level::Plain),
            TOKEN_STRING_START => self.open(Level::Text),
            TOKEN_INHERIT => self.open(Level::Names),
            _ => {}
        }
        self.linked = chained;
    }

    fn level(&self) -> Level {
        self.levels.last().map_or(Level::Plain, |(level, _)| *level)
    }

    fn count(&mut self, or: bool, same_element: bool) {
        let level = self.level();
        if level == Level::List && !same_element {
            self.reset();
        }
        let deeper = level == Level::Plain || (level == Level::List && or);
        if let Some((_, count)) = self.levels.last_mut().filter(|_| deeper) {
            *count += 1;
            self.depth += 1;
        }
    }

    fn reset(&mut self) {
        if let Some((_, count)) = self.levels.last_mut() {
            self.depth -= std::mem::take(count);
        }
    }

    fn open(&mut self, level: Level) {
        self.levels.push((level, 0));
        self.depth += 1;
    }

    fn close(&mut self) {
        if self.levels.len() > 1 {
            self.reset();
            self.levels.pop();
            self.depth -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, Scan, endless_run, is_shallow};

    fn too_deep(text: &str) -> bool {
        let mut scan = Scan::default();
        rnix::tokenize(text).any(|(kind, _)| scan.too_deep(kind))
    }

    #[test]
    fn flat_texts_are_not_deep() {
        let many = LIMIT * 2;
        for text in [
            format!("[ {} ]", "x ".repeat(many)),
            format!("[ {} ]", "a.b or c ".repeat(many)),
            format!("[ {} ]", "{ a = [ 1 ]; } ".repeat(many)),
            format!("{{ {} }}", "a = b + c; ".repeat(many)),
            format!("{{ inherit {}; }}", "x ".repeat(many)),
            format!("''{}''", "${x} text ".repeat(many)),
            format!("{{ {} }}: 1", "a ? 1 + 1, ".repeat(many)),
            format!("{{ a = {}1; }}", "if a then b else ".repeat(many)),
        ] {
            assert!(!too_deep(&text), "{}", &text[..40]);
        }
    }

    #[test]
    fn deep_texts_are() {
        let many = LIMIT + 1;
        for text in [
            "[".repeat(many),
            "(".repeat(many),
            "{a=".repeat(many),
            format!("1{}", "+1".repeat(many)),
            format!("1{}", "++1".repeat(many)),
            format!("{}1", "-".repeat(many)),
            format!("{}1", "!".repeat(many)),
            format!("[ a{} ]", ".b or a".repeat(many)),
            format!("f{}", " x".repeat(many)),
            "\"${".repeat(many),
        ] {
            assert!(too_deep(&text), "{}", &text[..40]);
            assert!(!is_shallow(&text), "{}", &text[..40]);
        }
    }

    #[test]
    fn a_run_of_words_without_an_end_is_seen_before_it_is_parted() {
        for part in ["+1", ".a", "-1"] {
            let text = format!("{{ a = 1{}; }}", part.repeat(100_000));
            assert_eq!(endless_run(&text), Some(6), "{part}");
            assert_eq!(endless_run(&part.repeat(LIMIT * 2)), None, "{part}");
        }
        let long = "a".repeat(1 << 20);
        assert_eq!(endless_run(&format!("\"{long}\"")), None, "one word takes no time");
        assert_eq!(endless_run(&format!("[ {} ]", "a.b.c ".repeat(100_000))), None);
    }

    #[test]
    fn a_shallow_text_has_no_deep_place() {
        for part in ["[", "(", "{a=", "1a", "1+", "-", "!", "a.b or ", "x ", "\" \"", "\"${"] {
            for count in [LIMIT / 5, LIMIT / 3, LIMIT / 2, LIMIT, LIMIT * 2] {
                let text = part.repeat(count);
                assert!(!is_shallow(&text) || !too_deep(&text), "{part} {count}");
            }
        }
    }
}
