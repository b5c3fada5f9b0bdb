//! The words of a text, as `rnix` parts it into tokens, of texts as they are mostly written. Pure.

use rnix::SyntaxKind::{self, *};

/// A word: it begins where the one before it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) kind: SyntaxKind,
    pub(super) end: u32,
}

/// Within what a word stands.
#[derive(Clone, Copy)]
enum Within {
    /// A string; whether it is an indented one.
    Text(bool),
    /// `${`, with so many braces open in it.
    Computed(u32),
}

/// Longer runs of digits may not fit into 64 bits.
const DIGITS: usize = 18;

/// All words; `None` where one is seldom met or wrong.
pub(super) fn of(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::with_capacity(text.len() / 4);
    let mut cut = Cut { bytes: text.as_bytes(), at: 0, run: 0, within: Vec::new() };
    while cut.at < cut.bytes.len() {
        if let Some(Within::Text(indented)) = cut.within.last().copied() {
            let start = cut.at;
            cut.text(indented)?;
            if cut.at > start {
                words.push(Word { kind: TOKEN_STRING_CONTENT, end: cut.end()? });
            }
            let ends = cut.byte(0) != b'$';
            let (kind, length) = match ends {
                true => (TOKEN_STRING_END, if indented { 2 } else { 1 }),
                false => (TOKEN_INTERPOL_START, 2),
            };
            match ends {
                true => drop(cut.within.pop()),
                false => cut.within.push(Within::Computed(0)),
            }
            cut.at += length;
            words.push(Word { kind, end: cut.end()? });
            continue;
        }
        let kind = cut.word()?;
        words.push(Word { kind, end: cut.end()? });
    }
    cut.within.is_empty().then_some(words)
}

struct Cut<'t> {
    bytes: &'t [u8],
    at: usize,
    /// Up to here stands what may be part of a path, and is none.
    run: usize,
    within: Vec<Within>,
}

/// What a word or a path may hold beside `/`.
fn of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-')
}

impl Cut<'_> {
    fn end(&self) -> Option<u32> {
        u32::try_from(self.at).ok()
    }

    /// A byte from here on; 0 beyond the end.
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn while_(&mut self, holds: impl Fn(u8) -> bool) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|b| !holds(*b)).unwrap_or(rest.len());
    }

    fn take(&mut self, length: usize, kind: SyntaxKind) -> Option<SyntaxKind> {
        self.at += length;
        Some(kind)
    }

    fn word(&mut self) -> Option<SyntaxKind> {
        match self.byte(0) {
            b' ' | b'\n' | b'\t' | b'\r' => {
                self.while_(|b| matches!(b, b' ' | b'\n' | b'\t' | b'\r'));
                Some(TOKEN_WHITESPACE)
            }
            b'#' => {
                self.while_(|b| b != b'\n');
                Some(TOKEN_COMMENT)
            }
            b'/' if self.byte(1) == b'*' => {
                let rest = self.bytes.get(self.at + 2..)?;
                let length = rest.windows(2).position(|w| w == b"*/")?;
                self.take(length + 4, TOKEN_COMMENT)
            }
            b'.' if self.byte(1) == b'.' && self.byte(2) == b'.' => self.dots(),
            byte if of_path(byte) => {
                if self.at >= self.run && !self.is_no_path()? {
                    return self.path(TOKEN_PATH_REL);
                }
                self.of_run(byte)
            }
            b'/' => match self.byte(1) {
                b'/' => self.take(2, TOKEN_UPDATE),
                b'$' => None,
                next if of_path(next) => self.path(TOKEN_PATH_ABS),
                _ => self.take(1, TOKEN_DIV),
            },
            b'<' => self.angle(),
            other => self.sign(other),
        }
    }

    /// Three dots, which begin no path.
    fn dots(&mut self) -> Option<SyntaxKind> {
        let plain = matches!(self.byte(3), b' ' | b'\n' | b'}' | b'\t' | b'\r');
        plain.then(|| self.at += 3)?;
        Some(TOKEN_ELLIPSIS)
    }

    /// Whether the letters and dots from here on are words; `false`: a path as `./x`.
    fn is_no_path(&mut self) -> Option<bool> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| !of_path(*b)).unwrap_or(rest.len());
        let next = |n: usize| rest.get(length + n).copied().unwrap_or(0);
        match next(0) {
            b'/' if matches!(next(1), b'/' | b'*' | b' ' | b'\n') => {}
            b'/' => {
                let relative = matches!(&rest[..length], b"." | b"..");
                return (relative && of_path(next(1))).then_some(false);
            }
            b':' if !matches!(next(1), b' ' | b'\n') => return None,
            _ => {}
        }
        self.run = self.at + length;
        Some(true)
    }

    /// A path of which nothing is computed.
    fn path(&mut self, kind: SyntaxKind) -> Option<SyntaxKind> {
        let start = self.at;
        self.while_(|b| of_path(b) || b == b'/');
        let path = &self.bytes[start..self.at];
        let odd = path.ends_with(b"/") || path.windows(2).any(|w| w == b"//");
        (!odd && self.byte(0) != b'$').then_some(kind)
    }

    /// `<nixpkgs>`, or less than.
    fn angle(&mut self) -> Option<SyntaxKind> {
        match self.byte(1) {
            b' ' | b'\n' => return self.take(1, TOKEN_LESS),
            b'=' => return self.take(2, TOKEN_LESS_OR_EQ),
            _ => self.at += 1,
        }
        let start = self.at;
        self.while_(|b| of_path(b) || b == b'/');
        let path = &self.bytes[start..self.at];
        if path.is_empty() || path.ends_with(b"/") || self.byte(0) != b'>' {
            return None;
        }
        self.take(1, TOKEN_PATH_SEARCH)
    }

    /// A word that begins with a letter, a digit, a dot or a sign.
    fn of_run(&mut self, first: u8) -> Option<SyntaxKind> {
        let start = self.at;
        match first {
            b'.' if self.byte(1).is_ascii_digit() => return None,
            b'.' => return self.take(1, TOKEN_DOT),
            b'+' if self.byte(1) == b'+' => return self.take(2, TOKEN_CONCAT),
            b'+' => return self.take(1, TOKEN_ADD),
            b'-' if self.byte(1) == b'>' => return self.take(2, TOKEN_IMPLICATION),
            b'-' => return self.take(1, TOKEN_SUB),
            b'0'..=b'9' => {
                self.while_(|b| b.is_ascii_digit());
                let more = self.byte(0);
                let odd = more == b'.' || more == b'_' || more.is_ascii_alphabetic();
                return (!odd && self.at - start <= DIGITS).then_some(TOKEN_INTEGER);
            }
            _ => {}
        }
        self.while_(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'\''));
        Some(match &self.bytes[start..self.at] {
            b"assert" => TOKEN_ASSERT,
            b"else" => TOKEN_ELSE,
            b"if" => TOKEN_IF,
            b"in" => TOKEN_IN,
            b"inherit" => TOKEN_INHERIT,
            b"let" => TOKEN_LET,
            b"or" => TOKEN_OR,
            b"rec" => TOKEN_REC,
            b"then" => TOKEN_THEN,
            b"with" => TOKEN_WITH,
            b"__curPos" => return None,
            _ => TOKEN_IDENT,
        })
    }

    fn sign(&mut self, first: u8) -> Option<SyntaxKind> {
        let next = self.byte(1);
        match (first, next) {
            (b'=', b'=') => self.take(2, TOKEN_EQUAL),
            (b'=', _) => self.take(1, TOKEN_ASSIGN),
            (b'!', b'=') => self.take(2, TOKEN_NOT_EQUAL),
            (b'!', _) => self.take(1, TOKEN_INVERT),
            (b'>', b'=') => self.take(2, TOKEN_MORE_OR_EQ),
            (b'>', _) => self.take(1, TOKEN_MORE),
            (b'&', b'&') => self.take(2, TOKEN_AND_AND),
            (b'|', b'|') => self.take(2, TOKEN_OR_OR),
            (b'[', _) => self.take(1, TOKEN_L_BRACK),
            (b']', _) => self.take(1, TOKEN_R_BRACK),
            (b'(', _) => self.take(1, TOKEN_L_PAREN),
            (b')', _) => self.take(1, TOKEN_R_PAREN),
            (b'@', _) => self.take(1, TOKEN_AT),
            (b':', _) => self.take(1, TOKEN_COLON),
            (b',', _) => self.take(1, TOKEN_COMMA),
            (b'?', _) => self.take(1, TOKEN_QUESTION),
            (b';', _) => self.take(1, TOKEN_SEMICOLON),
            (b'*', _) => self.take(1, TOKEN_MUL),
            (b'"', _) => {
                self.within.push(Within::Text(false));
                self.take(1, TOKEN_STRING_START)
            }
            (b'\'', b'\'') => {
                self.within.push(Within::Text(true));
                self.take(2, TOKEN_STRING_START)
            }
            (b'$', b'{') => {
                self.within.push(Within::Computed(0));
                self.take(2, TOKEN_INTERPOL_START)
            }
            (b'{', _) => {
                if let Some(Within::Computed(open)) = self.within.last_mut() {
                    *open += 1;
                }
                self.take(1, TOKEN_L_BRACE)
            }
            (b'}', _) => {
                if let Some(Within::Computed(open)) = self.within.last_mut() {
                    let Some(fewer) = open.checked_sub(1) else {
                        self.within.pop();
                        return self.take(1, TOKEN_INTERPOL_END);
                    };
                    *open = fewer;
                }
                self.take(1, TOKEN_R_BRACE)
            }
            _ => None,
        }
    }

    /// Goes to where a string ends or something computed begins in it.
    fn text(&mut self, indented: bool) -> Option<()> {
        loop {
            let next = self.byte(1);
            let length = match self.byte(0) {
                0 => return None,
                b'$' if next == b'{' => return Some(()),
                b'$' if next == b'$' => 2,
                b'"' if !indented => return Some(()),
                b'\\' if !indented && next != 0 => 2,
                b'\\' if !indented => return None,
                b'\'' if indented && next == b'\'' => match self.byte(2) {
                    b'\'' | b'$' => 3,
                    b'\\' if self.byte(3) != 0 => 4,
                    b'\\' => return None,
                    _ => return Some(()),
                },
                _ => 1,
            };
            self.at += length;
        }
    }
}
