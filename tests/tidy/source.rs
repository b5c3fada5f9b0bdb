//! Rust files as tidy sees them: lines, functions, paths into the crate. A scanner of text that
//! rustfmt has laid out, no parser: a function ends at the brace below its own first column.

/// A file with its path from the top of the repository.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// A function's name and place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Line of its head, from 1.
    pub(super) line: usize,
    /// From its head to its closing brace.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The file's name without its ending.
    pub(super) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }

    /// Holds nothing but tests.
    pub(super) fn is_test(&self) -> bool {
        let stem = self.stem();
        self.path.starts_with("tests/") || stem == "tests" || stem.ends_with("_tests")
    }

    /// Lines before the tests at its end, with numbers from 1.
    pub(super) fn lines(&self) -> Vec<(usize, &str)> {
        let all: Vec<&str> = self.text.lines().collect();
        let tests = |n: usize| {
            all[n] == "#[cfg(test)]" && all.get(n + 1).is_some_and(|l| l.starts_with("mod "))
        };
        let end = (0..all.len()).find(|n| tests(*n)).unwrap_or(all.len());
        all.into_iter().take(end).enumerate().map(|(n, line)| (n + 1, line)).collect()
    }

    /// The same lines without comments and without what stands between quotes.
    pub(super) fn code(&self) -> Vec<(usize, String)> {
        let mut quoted = false;
        let mut raw = None;
        self.lines().into_iter().map(|(n, line)| (n, bare(line, &mut quoted, &mut raw))).collect()
    }

    /// Functions outside of tests.
    pub(super) fn functions(&self) -> Vec<Function> {
        let lines = self.lines();
        let mut functions = Vec::new();
        for (at, (line, text)) in lines.iter().enumerate() {
            let Some(name) = function_head(text) else { continue };
            let indent = text.len() - text.trim_start().len();
            let close = format!("{}}}", " ".repeat(indent));
            let ends = |l: &str| l == close || (l == *text && l.ends_with('}'));
            let no_body = |l: &str| l.ends_with(';') && l.len() - l.trim_start().len() <= indent;
            let found = lines[at..].iter().find(|(_, l)| ends(l) || no_body(l));
            let Some((end, last)) = found else { continue };
            if !no_body(last) {
                functions.push(Function { name, line: *line, lines: end - line + 1 });
            }
        }
        functions
    }

    /// Paths into the crate: `fleet`, `world::files`, with the line of each.
    pub(super) fn edges(&self) -> Vec<(usize, String)> {
        let code = self.code();
        let mut whole = String::new();
        let mut starts = Vec::new();
        for (line, text) in &code {
            starts.push((whole.len(), *line));
            whole.push_str(text);
            whole.push('\n');
        }
        let line_of =
            |at: usize| starts.iter().rev().find(|(from, _)| *from <= at).map_or(0, |s| s.1);
        let mut edges = Vec::new();
        for (at, found) in whole.match_indices("crate::") {
            let before = whole[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &whole[at + found.len()..];
            edges.extend(heads(rest).into_iter().map(|path| (line_of(at), path)));
        }
        edges
    }
}

/// The first one or two words of a path, or of each path in braces.
fn heads(rest: &str) -> Vec<String> {
    if let Some(inner) = rest.strip_prefix('{') {
        return branches(inner).into_iter().flat_map(|branch| heads(&branch)).collect();
    }
    let word =
        |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let first = word(rest);
    let tail = rest[first.len()..].strip_prefix("::").unwrap_or_default();
    if let Some(inner) = tail.strip_prefix('{') {
        let second = branches(inner).into_iter().map(|b| word(&b));
        return second.filter(|s| !s.is_empty()).map(|s| format!("{first}::{s}")).collect();
    }
    let second = word(tail);
    vec![if second.is_empty() { first } else { format!("{first}::{second}") }]
}

/// What stands between commas up to the closing brace.
fn branches(inner: &str) -> Vec<String> {
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) =
            branches.last_mut().filter(|last| !last.is_empty() || !c.is_whitespace())
        {
            last.push(c);
        }
    }
    branches.retain(|b| !b.is_empty());
    branches
}

fn function_head(line: &str) -> Option<String> {
    let mut words = line.trim_start();
    if words.starts_with("pub(") {
        words = words.split_once(") ")?.1;
    }
    for word in ["pub ", "default ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(word).unwrap_or(words);
    }
    let name = words.strip_prefix("fn ")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(name[..end].to_owned())
}

/// A line without comment and quoted text; `quoted` and `raw` go on to the next line.
fn bare(line: &str, quoted: &mut bool, raw: &mut Option<String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    loop {
        if let Some(end) = raw.clone() {
            let Some(at) = rest.find(&end) else { return out };
            rest = &rest[at + end.len()..];
            *raw = None;
        } else if *quoted {
            let Some(at) = rest.find(['"', '\\']) else { return out };
            let escape = rest[at..].starts_with('\\');
            let skip = rest[at + 1..].chars().next().filter(|_| escape).map_or(0, char::len_utf8);
            rest = &rest[at + 1 + skip..];
            *quoted = escape;
        } else {
            let Some(at) = rest.find(['"', '/', 'r', '\'']) else { return out + rest };
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
            let word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
            if rest.starts_with("//") {
                return out;
            } else if rest.starts_with("'\"'") {
                rest = &rest[3..];
            } else if rest.starts_with("'\\\"'") {
                rest = &rest[4..];
            } else if rest.starts_with('"') {
                *quoted = true;
                rest = &rest[1..];
            } else if rest.starts_with('r') && !word && rest[1 + hashes..].starts_with('"') {
                *raw = Some(format!("\"{}", "#".repeat(hashes)));
                rest = &rest[2 + hashes..];
            } else {
                out.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
}

#[test]
fn functions_are_measured_to_their_own_brace() {
    let source = Source::new(
        "src/a.rs",
        "fn one() {}\n\
         pub(crate) async fn two(\n    a: u8,\n) -> u8 {\n    if a > 1 {\n        2\n    }\n}\n\
         impl A {\n    const fn three() {\n        x();\n    }\n}\ntrait B {\n    fn four();\n}\n\
         #[cfg(test)]\nmod tests {\n    fn five() {\n    }\n}\n",
    );
    let found: Vec<(String, usize, usize)> =
        source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    let expected = [("one", 1, 1), ("two", 2, 7), ("three", 10, 3)];
    assert_eq!(found, expected.map(|(name, line, lines)| (name.to_owned(), line, lines)));
}

#[test]
fn edges_are_seen_in_every_spelling_and_not_in_text() {
    let source = Source::new(
        "src/a.rs",
        "use crate::fleet::Host;\nuse crate::{event::Event, plan};\n\
         use crate::world::{\n    files,\n    Clock,\n};\n\
         // crate::cli\nfn a() {\n    crate::exit::of(\"crate::cli // \\\" crate::cli\");\n    \
         let c = '\"'; crate::error::x(r#\"crate::cli \" \"#);\n}\n",
    );
    let found: Vec<String> = source.edges().into_iter().map(|(n, e)| format!("{n} {e}")).collect();
    let expected = [
        "1 fleet::Host",
        "2 event::Event",
        "2 plan",
        "3 world::files",
        "3 world::Clock",
        "9 exit::of",
        "10 error::x",
    ];
    assert_eq!(found, expected);
}
