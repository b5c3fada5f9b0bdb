//! `--fix`: the edits that cannot change what a file means, made only if they did not.
//!
//! The edited text is read again: it must be without faults, and its tree the same as before in
//! everything but the edited places. Only then is the file replaced, as a whole.

use std::ops::Range;
use std::path::Path;

use rnix::{NodeOrToken, SyntaxElement, SyntaxKind, SyntaxNode, WalkEvent};

use super::rules;
use super::syntax::{self, Edit};
use super::{allow, nesting, reading};
use crate::event::Severity;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fixed {
    /// Nothing to do.
    Nothing,
    /// The new text, and how many edits made it.
    Text(String, usize),
    /// It would have changed more than it should.
    Unsafe,
}

/// Mends a file that lies somewhere; on a thread of its own, for reading is deep.
pub fn mended(path: &Path, skip: &[String]) -> Fixed {
    let Ok(Some(bytes)) = reading::read(path) else { return Fixed::Nothing };
    let Ok(text) = String::from_utf8(bytes) else { return Fixed::Nothing };
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(nesting::STACK);
        let worker = worker.spawn_scoped(scope, || mend(&text, skip));
        worker.ok().and_then(|w| w.join().ok()).unwrap_or(Fixed::Unsafe)
    })
}

/// Mends a text: every safe edit but those of the rules to skip.
pub fn mend(text: &str, skip: &[String]) -> Fixed {
    let read = syntax::read(text);
    let blocked = read.faults.iter().any(|f| f.severity == Severity::Block);
    let Some(root) = read.root.filter(|_| !blocked) else { return Fixed::Nothing };
    let mut faults = rules::faults(text, &root, &read.unused, &|| false);
    let mut allows = allow::read(text, &root);
    faults.retain(|fault| allow::reason(&mut allows, fault).is_none());
    faults.extend(allow::unused(text, &allows));
    faults.retain(|fault| !skip.iter().any(|id| id == fault.code));
    let mut edits: Vec<Edit> = faults.into_iter().filter_map(|f| f.fix).collect();
    edits.sort_by_key(|e| (e.range.start, e.range.end));
    edits.dedup();
    // Of edits that overlap the first is made; the next run makes the others.
    let mut upto = 0;
    edits.retain(|edit| {
        let free = edit.range.start >= upto;
        upto = if free { edit.range.end } else { upto };
        free
    });
    if edits.is_empty() {
        return Fixed::Nothing;
    }
    let (new, places) = edited(text, &edits);
    match same_otherwise(&root, &edits, &new, &places) {
        true => Fixed::Text(new, edits.len()),
        false => Fixed::Unsafe,
    }
}

/// The text with its edits, and where each stands in it.
fn edited(text: &str, edits: &[Edit]) -> (String, Vec<Range<usize>>) {
    let (mut new, mut places, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
    for edit in edits {
        new.push_str(&text[at..edit.range.start]);
        let start = new.len();
        new.push_str(&edit.text);
        places.push(start..new.len());
        at = edit.range.end;
    }
    new.push_str(&text[at..]);
    (new, places)
}

/// Whether the new text is one without faults, whose tree differs from the old one only within
/// the edits.
fn same_otherwise(old: &SyntaxNode, edits: &[Edit], new: &str, places: &[Range<usize>]) -> bool {
    let read = syntax::read(new);
    let Some(root) = read.root else { return false };
    let ranges: Vec<Range<usize>> = edits.iter().map(|e| e.range.clone()).collect();
    let faultless = !read.faults.iter().any(|f| f.severity == Severity::Block);
    faultless && shape(old, &ranges) == shape(&root, places)
}

/// A tree without blanks and comments, as a list of what one meets on a walk; a node or token
/// that lies within an edited place, but for the edges' blanks, is one mark.
fn shape(root: &SyntaxNode, edited: &[Range<usize>]) -> Vec<(SyntaxKind, String)> {
    let mut shape = Vec::new();
    let mut walk = root.preorder_with_tokens();
    while let Some(event) = walk.next() {
        match event {
            WalkEvent::Enter(element) => {
                let range: Range<usize> = element.text_range().into();
                let within = |e: &&Range<usize>| {
                    !e.is_empty() && e.start <= range.start && range.end <= e.end
                };
                if edited.iter().any(|e| within(&e)) {
                    mark(&element, &mut shape);
                    walk.skip_subtree();
                } else if let NodeOrToken::Token(token) = element {
                    if !token.kind().is_trivia() {
                        shape.push((token.kind(), token.text().to_owned()));
                    }
                } else {
                    shape.push((element.kind(), String::new()));
                }
            }
            WalkEvent::Leave(NodeOrToken::Node(node)) => {
                let range: Range<usize> = node.text_range().into();
                let gone = edited
                    .iter()
                    .any(|e| !e.is_empty() && e.start <= range.start && range.end <= e.end);
                if !gone {
                    shape.push((node.kind(), ")".to_owned()));
                }
            }
            WalkEvent::Leave(NodeOrToken::Token(_)) => {}
        }
    }
    shape
}

/// An edited expression is a mark; a removed word or comment is nothing.
fn mark(element: &SyntaxElement, shape: &mut Vec<(SyntaxKind, String)>) {
    if let NodeOrToken::Node(_) = element {
        shape.push((SyntaxKind::NODE_ROOT, "edited".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> String {
        match mend(text, &[]) {
            Fixed::Text(new, _) => new,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_safe_four_are_mended() {
        for (old, new) in [
            ("{ a = https://x.org/a; }", "{ a = \"https://x.org/a\"; }"),
            ("f: { a = 6/3; b = f 6/3; }", "f: { a = 6 / 3; b = f (6 / 3); }"),
            ("[ 6/3 ]", "[ (6 / 3) ]"),
            ("rec { a = 1; }", "{ a = 1; }"),
            ("rec /* why */ { a = 1; }", "/* why */ { a = 1; }"),
            ("{\n  # nixdeploy: allow(mkif-true) -- x\n  a = 1;\n}\n", "{\n  a = 1;\n}\n"),
            ("{\n  a = 1; # nixdeploy: allow(mkif-true) -- x\n}\n", "{\n  a = 1;\n}\n"),
            ("{ a = rec { b = https://x.org; }; }", "{ a = { b = \"https://x.org\"; }; }"),
            ("# ä\nrec { a = \"ä\"; b = x:x; }", "# ä\n{ a = \"ä\"; b = x:x; }"),
        ] {
            assert_eq!(mended(old), new, "{old}");
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        for text in [
            "{ lib, c, ... }: { a = lib.mkIf c true; }",
            "rec { a = 1; b = a; }",
            "{ a = x:x; }",
            "{ a = 1 }",
            "{\n  # nixdeploy: allow(nonsense) -- x\n  a = 1;\n}",
            "rec { ${x} = 1; }",
        ] {
            assert_eq!(mend(text, &[]), Fixed::Nothing, "{text}");
        }
        assert_eq!(mend("rec { a = 1; }", &["needless-rec".to_owned()]), Fixed::Nothing);
    }
}
