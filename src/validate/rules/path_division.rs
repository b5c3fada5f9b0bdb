//! A division that is a path.

use rnix::SyntaxKind;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::place::Place;
use crate::validate::syntax::{Edit, Fault};

pub(super) const RULE: Rule = Rule {
    id: "path-division",
    severity: Severity::Warn,
    flags: "`1/2`, which is a path and no number",
    why: "Without blanks around it the slash makes a path: `6/3` is the file 3 in the folder 6. \
          Write `6 / 3`.",
    fixable: true,
    needs: &[],
    tops: &[],
    check: Check::Anywhere(&[SyntaxKind::NODE_PATH_REL], found),
    bad: &["{ a = 6/3; }", "{ a = [ 1024/2 ]; }"],
    good: &[
        "{ a = 6 / 3; }",
        "{ a = modules/base.nix; }",
        "{ a = ./6/3; }",
        "\"6/3\"",
        "{ a = 6/3/2; }",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let node = place.cursor();
    let text = node.text().to_string();
    let (over, under) = text.split_once('/')?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(over) || !digits(under) {
        return None;
    }
    // Only as a whole value is it the same thing without parentheses.
    let whole = node.parent().is_some_and(|p| {
        matches!(p.kind(), SyntaxKind::NODE_ATTRPATH_VALUE | SyntaxKind::NODE_PAREN)
    });
    let quotient = format!("{over} / {under}");
    let replacement = if whole { quotient.clone() } else { format!("({quotient})") };
    let edit = Edit { range: node.text_range().into(), text: replacement };
    let fits = over.parse::<i64>().is_ok() && under.parse::<i64>().is_ok();
    let message = format!("{text} is a path, no number");
    let fault = RULE.fault(node, message).hint(Some(format!("write {quotient}")));
    Some(if fits { fault.fix(edit) } else { fault })
}
