//! Known issues: the data of `issues`, its document, and its page.
//!
//! Plain data, filled in by `command`. Keys of the document are only ever added within a
//! [`SCHEMA`]. Texts in here are harmless for a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::look::{Ink, Look, Mark, count};

/// Version of the document; raised when a key changes its meaning or goes.
pub const SCHEMA: u32 = 1;
/// Columns of the severity.
const LEVEL: usize = 10;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Known {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How whole the list of issues is.
    pub check: Check,
    /// Issues that concern a host: by phase, worst first.
    pub items: Vec<Item>,
    /// `free`, `ask` or `blocked`, for each host; `accepted`: what blocks it was accepted by its
    /// number, in this update.
    pub gate: BTreeMap<String, &'static str>,
    /// Numbers that hosts.toml leaves out.
    pub ignored: Vec<u64>,
    /// Packages that were looked at.
    pub packages: usize,
    /// Modules that are enabled; `null`: nobody knows.
    pub modules: Option<usize>,
    /// Whether there is another system to be compared with: without one nothing is new or fixed.
    pub update: bool,
    /// Hosts of which nothing could be read, each with the reason.
    pub unread: Vec<String>,
    /// What hosts.toml says that is no longer so.
    pub warnings: Vec<String>,
}

impl Known {
    /// Whether a reader of the one learns nothing from the other.
    pub fn says_the_same_as(&self, other: &Known) -> bool {
        let said = |known: &Known| {
            let Known { check, items, gate, unread, .. } = known.clone();
            (check.state, items, gate, unread)
        };
        said(self) == said(other)
    }
}

/// How whole the list is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Check {
    /// `complete`, `partial`, `stale` or `unavailable`.
    pub state: &'static str,
    /// From when on the list knows what happened.
    pub covered_since: Option<String>,
    /// When the oldest part of it was asked for.
    pub fetched_at: Option<String>,
    /// Issues in it.
    pub issues: usize,
    /// Requests that were made.
    pub requests: u32,
    /// Whether a token was used.
    pub with_token: bool,
    /// Whether the server would have said more to one.
    pub token_helps: bool,
    /// When the server's limit ends.
    pub limit_until: Option<String>,
    /// What did not go as it should.
    pub notes: Vec<String>,
}

/// One issue.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Item {
    /// Its number.
    pub number: u64,
    /// The package or module that it is about.
    pub package: String,
    /// The version that runs.
    pub installed: Option<String>,
    /// The version that is to run.
    pub candidate: Option<String>,
    /// `introduced`, `persisting` or `fixed`.
    pub phase: &'static str,
    /// `critical`, `high`, `medium` or `low`: the worst of its hosts'.
    pub severity: &'static str,
    /// `version`, `subject` or `mention`.
    pub confidence: &'static str,
    /// Hosts that it concerns.
    pub hosts: Vec<String>,
    /// Their severities, where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub severity_by_host: BTreeMap<String, &'static str>,
    /// Where it can be read.
    pub url: String,
    /// Its title.
    pub title: String,
    /// When it was opened.
    pub opened_at: String,
    /// It names hardware that none of its hosts has.
    pub other_hardware: bool,
    /// It was closed, and yet the update does not change the package.
    pub unchanged: bool,
}

/// The document.
pub fn document(known: &Known) -> String {
    serde_json::to_string(known).unwrap_or_default() + "\n"
}

/// The page; low ones only with `all`.
pub fn page(known: &Known, all: bool, look: &Look) -> String {
    let mut lines = vec![headline(known, look)];
    lines.extend(incomplete(known, look));
    let sections = match known.update {
        true => [
            ("introduced", "would be new with this update"),
            ("persisting", "already with you (the update does not change these)"),
            ("fixed", "fixed by this update"),
        ],
        false => [("persisting", "with you now"), ("introduced", "new"), ("fixed", "fixed")],
    };
    let shown = |i: &&Item| all || i.severity != "low";
    for (phase, title) in sections {
        let mut items = known.items.iter().filter(|i| i.phase == phase).filter(shown).peekable();
        if items.peek().is_some() {
            lines.push(title.to_owned());
        }
        items.for_each(|item| lines.extend(rows(item, known, look)));
    }
    let hidden = known.items.iter().filter(|i| !shown(i)).count();
    if hidden > 0 {
        lines.push(format!("{hidden} low, hidden (--all)"));
    }
    if known.items.is_empty() && known.check.state == "complete" && known.unread.is_empty() {
        lines.push("no known issues".to_owned());
    }
    if !known.ignored.is_empty() {
        let numbers: Vec<String> = known.ignored.iter().map(|n| format!("#{n}")).collect();
        lines.extend(look.wrap("left out by hosts.toml: ", "  ", &numbers.join(" ")));
    }
    for warning in known.warnings.iter().chain(&known.unread) {
        let mark = look.ink(Ink::Warn, look.mark(Mark::Warn));
        lines.extend(look.wrap(&format!("{mark} "), "  ", warning));
    }
    lines.extend(gate(known, look));
    lines.join("\n") + "\n"
}

fn headline(known: &Known, look: &Look) -> String {
    let modules = known.modules.map(|m| format!(", {}", count(m, "module", "modules")));
    let packages = count(known.packages, "package", "packages");
    let whole = match known.check.state {
        "complete" => "",
        "partial" | "stale" => " (incomplete)",
        // Whoever reads one line reads no number of a list that is not there.
        _ => {
            let none = "Known issues: nothing was checked, for there is no list of issues";
            return look.ink(Ink::Warn, &look.cut(none, look.width));
        }
    };
    let until = known.check.fetched_at.as_deref().map(|at| format!(" (to {})", minute(at)));
    let text = format!(
        "Known issues{whole}: {packages}{}, {}{}",
        modules.unwrap_or_default(),
        count(known.check.issues, "report", "reports"),
        until.unwrap_or_default()
    );
    look.cut(&text, look.width)
}

/// What is missing, so that nobody reads an empty list as a good one.
fn incomplete(known: &Known, look: &Look) -> Vec<String> {
    let check = &known.check;
    let told = match check.state {
        "complete" => return Vec::new(),
        "stale" => Some(format!(
            "The check is incomplete: this is the list of {}.",
            check.fetched_at.as_deref().map_or_else(|| "-".to_owned(), minute)
        )),
        "partial" => Some(format!(
            "The check is incomplete: reports before {} were not all read.",
            check.covered_since.as_deref().map_or_else(|| "-".to_owned(), minute)
        )),
        // That is the headline.
        _ => None,
    };
    let ink = |line: String| look.ink(Ink::Warn, &line);
    let told = told.into_iter().flat_map(|told| look.wrap("", "", &told));
    let mut lines: Vec<String> = told.map(ink).collect();
    for note in &check.notes {
        lines.extend(look.wrap("  ", "  ", note));
    }
    if let Some(until) = &check.limit_until {
        lines.push(look.cut(&format!("  next answer at {}", minute(until)), look.width));
    }
    if check.token_helps {
        lines.push("  with a token: gh auth login, or GITHUB_TOKEN".to_owned());
    }
    lines
}

/// `2026-09-24 11:40 UTC` of a timestamp.
fn minute(stamp: &str) -> String {
    stamp.get(..16).unwrap_or(stamp).replacen('T', " ", 1) + " UTC"
}

fn rows(item: &Item, known: &Known, look: &Look) -> Vec<String> {
    let (word, ink) = match item.severity {
        "critical" => ("CRITICAL", Ink::Bad),
        "high" => ("high", Ink::Bad),
        "medium" => ("medium", Ink::Warn),
        _ => ("low", Ink::Dim),
    };
    let versions = match (&item.installed, &item.candidate) {
        (Some(old), Some(new)) if old != new => format!(" {old} {} {new}", look.mark(Mark::Arrow)),
        (Some(one), _) | (None, Some(one)) => format!(" {one}"),
        (None, None) => String::new(),
    };
    let nameless = item.hosts.iter().all(|h| h == "*");
    let all = known.gate.len() > 1 && item.hosts.len() == known.gate.len();
    let hosts = match (nameless, all) {
        (true, _) => String::new(),
        (_, true) => "all".to_owned(),
        _ => item.hosts.join(", "),
    };
    let room = look.width.saturating_sub(LEVEL + 2);
    let narrow = Look { width: room, ..look.clone() };
    let first = narrow.edges(&format!("{}{versions}", item.package), &hosts);
    let gap = " ".repeat(LEVEL.saturating_sub(word.len()));
    let indent = " ".repeat(LEVEL + 2);
    let sure = match item.confidence {
        "version" => "the version fits",
        "subject" => "about this package",
        _ => "names it",
    };
    let mut facts =
        format!("#{}, opened {}: {sure}", item.number, item.opened_at.get(..10).unwrap_or("-"));
    if item.other_hardware {
        facts.push_str("; not your hardware");
    }
    if item.unchanged {
        facts.push_str("; closed upstream, but this update does not change the package");
    }
    let mut lines = vec![format!("  {}{gap}{first}", look.ink(ink, word))];
    lines.extend(look.wrap(&indent, &indent, &item.title));
    lines.extend(look.wrap(&indent, &indent, &facts));
    let differs: Vec<String> =
        item.severity_by_host.iter().map(|(host, severity)| format!("{host} {severity}")).collect();
    if !differs.is_empty() {
        lines.extend(look.wrap(&indent, &indent, &differs.join(", ")));
    }
    lines
}

fn gate(known: &Known, look: &Look) -> Vec<String> {
    if !known.update {
        return Vec::new();
    }
    let whole = match known.check.state {
        "complete" => "",
        "partial" | "stale" => ": the check is incomplete",
        _ => ": nothing was checked",
    };
    let mut lines = Vec::new();
    for gate in ["blocked", "accepted", "ask", "free"] {
        let hosts: Vec<&str> =
            known.gate.iter().filter(|(_, g)| **g == gate).map(|(h, _)| h.as_str()).collect();
        let (named, one) = match hosts.as_slice() {
            [] => continue,
            ["*"] => ("the update".to_owned(), true),
            hosts => (hosts.join(", "), hosts.len() == 1),
        };
        let of = if hosts == ["*"] { named.clone() } else { format!("the update of {named}") };
        let is = if one { "is" } else { "are" };
        let told = match gate {
            "blocked" => format!("{named} {is} held"),
            "accepted" => format!("what would hold {named} was accepted (--accept-issue)"),
            "ask" => format!("a person has to decide on {of}{whole}"),
            _ if whole.is_empty() => format!("{named} {is} not affected"),
            _ => format!("{named}: not known to be affected{whole}"),
        };
        lines.extend(look.wrap("", "  ", &told));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let item = Item {
            number: 610_063,
            package: "zfs-user".to_owned(),
            installed: Some("2.4.0".to_owned()),
            candidate: Some("2.4.1".to_owned()),
            phase: "introduced",
            severity: "critical",
            confidence: "version",
            hosts: vec!["rack".to_owned()],
            title: "zfs: 2.4.1 corrupts encrypted datasets on raw send".to_owned(),
            opened_at: "2026-07-01T10:00:00Z".to_owned(),
            ..Item::default()
        };
        let low = Item { severity: "low", phase: "persisting", ..item.clone() };
        let fetched_at = Some("2026-07-08T12:00:00Z".to_owned());
        Known {
            check: Check { state: "complete", fetched_at, issues: 92, ..Check::default() },
            items: vec![item, low],
            gate: BTreeMap::from([("book".to_owned(), "free"), ("rack".to_owned(), "blocked")]),
            packages: 43,
            modules: Some(1),
            update: true,
            ..Known::default()
        }
    }

    #[test]
    fn a_page_says_what_is_new_first() {
        insta::assert_snapshot!(page(&known(), false, &Look::plain()), @r"
        Known issues: 43 packages, 1 module, 92 reports (to 2026-07-08 12:00 UTC)
        would be new with this update
          CRITICAL  zfs-user 2.4.0 -> 2.4.1                                         rack
                    zfs: 2.4.1 corrupts encrypted datasets on raw send
                    #610063, opened 2026-07-01: the version fits
        1 low, hidden (--all)
        rack is held
        book is not affected
        ");
    }

    #[test]
    fn only_a_complete_list_says_that_there_is_nothing() {
        let mut nothing = Known { items: Vec::new(), ..known() };
        assert!(page(&nothing, false, &Look::plain()).contains("no known issues"));
        for state in ["partial", "stale", "unavailable"] {
            nothing.check.state = state;
            let page = page(&nothing, false, &Look::plain());
            assert!(!page.contains("no known issues"), "{page}");
            assert!(!page.contains("not affected") && page.contains("check"), "{page}");
        }
    }

    #[test]
    fn the_first_line_is_enough_to_know_that_nothing_was_checked() {
        let hosts = ["p510", "p620"].map(|h| (h.to_owned(), "ask"));
        let check =
            Check { state: "unavailable", notes: vec!["no route".to_owned()], ..Check::default() };
        let nothing = Known { check, items: Vec::new(), gate: hosts.into(), ..known() };
        insta::assert_snapshot!(page(&nothing, false, &Look::plain()), @r"
        Known issues: nothing was checked, for there is no list of issues
          no route
        a person has to decide on the update of p510, p620: nothing was checked
        ");
        let mut limited = nothing.clone();
        limited.check.token_helps = true;
        assert!(page(&limited, false, &Look::plain()).contains("with a token: gh auth login"));
        limited.check.state = "partial";
        let page = page(&limited, false, &Look::plain());
        assert!(page.starts_with("Known issues (incomplete): 43 packages"), "{page}");
    }

    #[test]
    fn a_page_is_worth_showing_again_when_it_says_something_else() {
        let mut other = Known { packages: 44, ..known() };
        assert!(known().says_the_same_as(&other), "names of derivations tell of more packages");
        other.check.state = "partial";
        assert!(!known().says_the_same_as(&other));
        let none = Known { items: Vec::new(), ..known() };
        assert!(!known().says_the_same_as(&none));
        let unread = Known { unread: vec!["book was not checked: no route".to_owned()], ..known() };
        assert!(!known().says_the_same_as(&unread));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let mut wide = known();
        wide.items[0].title = "x: ".to_owned() + &"long ".repeat(60);
        wide.items[0].package = "p".repeat(120);
        wide.items[0].hosts = (0..40).map(|n| format!("host{n}")).collect();
        for line in page(&wide, true, &Look::plain()).lines() {
            assert!(super::super::look::columns_of(line) <= 80, "{line}");
        }
    }
}
