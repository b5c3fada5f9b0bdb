//! `# nixdeploy: allow(rule) -- reason`: findings that a comment lets pass, with its reason.
//!
//! A comment counts for the line it stands on, or, alone on its line, for the binding or element
//! that follows; `allow-file` counts for the whole file.

use std::ops::Range;

use rnix::{NodeOrToken, SyntaxKind, SyntaxNode, SyntaxToken};

use super::rules::{RULES, rule};
use super::syntax::{Edit, Fault};
use crate::event::Severity;
use crate::fleet::hosts_toml::nearest;

const MARK: &str = "nixdeploy:";
const UNUSED: &str = "unused-suppression";

/// One comment.
#[derive(Debug)]
pub(super) struct Allow {
    /// The comment.
    at: Range<usize>,
    /// Where findings may begin that it lets pass.
    covers: Range<usize>,
    rules: Vec<String>,
    reason: Option<String>,
    used: bool,
    /// Why it lets nothing pass.
    wrong: Option<String>,
    /// The line's own: it goes with the comment.
    line: Range<usize>,
}

impl Allow {
    /// Where the comment stands.
    pub(super) fn place(&self) -> &Range<usize> {
        &self.at
    }

    /// Whether it says nothing of what is beyond a part of the text, unless of the whole file.
    pub(super) fn stays_within(&self, part: &Range<usize>) -> bool {
        let within = |r: &Range<usize>| part.start <= r.start && r.end <= part.end;
        within(&self.line) && (self.covers == (0..usize::MAX) || within(&self.covers))
    }

    /// Moves its places to those of another text.
    pub(super) fn moved(&mut self, moved: &dyn Fn(&Range<usize>) -> Range<usize>) {
        for place in [&mut self.at, &mut self.covers, &mut self.line] {
            *place = moved(place);
        }
    }

    /// Nobody can tell whether something needs it.
    pub(super) fn count_as_used(&mut self) {
        self.used = true;
    }
}

/// The comments of a text that allow something.
pub(super) fn read(text: &str, root: &SyntaxNode) -> Vec<Allow> {
    if !text.contains(MARK) {
        return Vec::new();
    }
    let tokens = root.descendants_with_tokens().filter_map(NodeOrToken::into_token);
    let comments = tokens.filter(|t| t.kind() == SyntaxKind::TOKEN_COMMENT);
    comments.filter_map(|comment| of_comment(text, &comment)).collect()
}

fn of_comment(text: &str, comment: &SyntaxToken) -> Option<Allow> {
    let words = comment.text().trim_start_matches(['#', '/', '*']).trim_end_matches(['*', '/']);
    let words = words.trim().strip_prefix(MARK)?.trim();
    let at: Range<usize> = comment.text_range().into();
    let line = line_of(text, &at);
    let (named, rest) = match words.split_once('(') {
        Some((verb, rest)) => {
            rest.split_once(')').map_or(((verb, ""), ""), |(n, r)| ((verb, n), r))
        }
        None => ((words, ""), ""),
    };
    let (verb, named) = named;
    let rules: Vec<String> =
        named.split(',').map(|r| r.trim().to_owned()).filter(|r| !r.is_empty()).collect();
    let reason = rest.trim().strip_prefix("--").map(|r| r.trim().to_owned());
    let reason = reason.filter(|r| !r.is_empty());
    let covers = match verb.trim() {
        "allow-file" => 0..usize::MAX,
        _ if text[line.start..at.start].trim().is_empty() => following(text, comment),
        _ => line.clone(),
    };
    let wrong = mistake(verb.trim(), &rules, reason.is_some());
    Some(Allow { at, covers, rules, reason, used: false, wrong, line })
}

/// What is wrong with a comment, if it can let nothing pass.
fn mistake(verb: &str, rules: &[String], reasoned: bool) -> Option<String> {
    if !matches!(verb, "allow" | "allow-file") || rules.is_empty() {
        return Some("this says nothing: write allow(RULE) -- REASON".to_owned());
    }
    for id in rules {
        let Some(rule) = rule(id) else {
            let near = nearest(id, RULES.iter().map(|r| r.id));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let shown: String = id.chars().take(40).collect();
            return Some(format!("there is no rule {shown}{hint}"));
        };
        if rule.is_syntax() {
            return Some(format!("{id} cannot be allowed: Nix refuses the file"));
        }
        if rule.severity >= Severity::Warn && !reasoned {
            return Some(format!("allow({id}) needs a reason: -- WHY"));
        }
    }
    None
}

/// What a comment alone on its line stands before: the binding or element, else the next line.
fn following(text: &str, comment: &SyntaxToken) -> Range<usize> {
    let mut next = comment.next_token();
    while let Some(token) = next.as_ref().filter(|t| t.kind().is_trivia()) {
        next = token.next_token();
    }
    let Some(token) = next else { return 0..0 };
    let start: usize = token.text_range().start().into();
    let begins = |n: &SyntaxNode| usize::from(n.text_range().start()) == start;
    let mut around = token.parent_ancestors().take_while(begins);
    let whole = around.find(|n| {
        let element = n.parent().is_some_and(|p| p.kind() == SyntaxKind::NODE_LIST);
        element || matches!(n.kind(), SyntaxKind::NODE_ATTRPATH_VALUE | SyntaxKind::NODE_INHERIT)
    });
    match whole {
        Some(node) => node.text_range().into(),
        None => line_of(text, &(start..start)),
    }
}

/// The whole line or lines around a range, the last line's end included.
fn line_of(text: &str, at: &Range<usize>) -> Range<usize> {
    let start = text[..at.start].rfind('\n').map_or(0, |n| n + 1);
    let end = text[at.end..].find('\n').map_or(text.len(), |n| at.end + n + 1);
    start..end
}

/// The reason for which a fault may pass; marks the comment as used.
pub(super) fn reason(allows: &mut [Allow], fault: &Fault) -> Option<String> {
    let fits = |a: &&mut Allow| {
        a.wrong.is_none()
            && a.covers.contains(&fault.range.start)
            && a.rules.iter().any(|r| r == fault.code)
    };
    let mut found = None;
    // Every comment that fits counts as used, so that two of them are not both called needless.
    for allow in allows.iter_mut().filter(fits) {
        allow.used = true;
        found.get_or_insert_with(|| allow.reason.clone().unwrap_or_default());
    }
    found
}

/// The comments that let nothing pass.
pub(super) fn unused(text: &str, allows: &[Allow]) -> Vec<Fault> {
    let idle = allows.iter().filter(|a| !a.used);
    let told = idle.map(|allow| {
        let message = match &allow.wrong {
            Some(wrong) => wrong.clone(),
            None => format!("nothing here needs allow({})", allow.rules.join(", ")),
        };
        let mut fault = Fault::at(UNUSED, Severity::Warn, allow.at.clone(), message);
        if allow.wrong.is_none() {
            fault.fix = Some(Edit { range: gone(text, allow), text: String::new() });
        }
        fault
    });
    told.collect()
}

/// What goes with a comment: its whole line when it stands alone, else the blanks before it.
fn gone(text: &str, allow: &Allow) -> Range<usize> {
    let before = &text[allow.line.start..allow.at.start];
    let after = &text[allow.at.end..allow.line.end];
    if before.trim().is_empty() && after.trim().is_empty() {
        return allow.line.clone();
    }
    let blanks = before.len() - before.trim_end().len();
    allow.at.start - blanks..allow.at.end
}
