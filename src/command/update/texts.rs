//! What an update is called where it is recorded: a report, a commit, a pull request. Pure.
//!
//! Whatever names somebody else's issue leads over redirect.github.com: GitHub draws no line from
//! there to the issue, so nobody upstream is told of our deploys. Of names and revisions only
//! what such words are made of is written, so that no lock file mentions anybody.

use crate::event::harmless;
use crate::event::state::RunState;
use crate::fleet::HostName;
use crate::issues::address::REDIRECT;
use crate::report::inputs::Moved;
use crate::report::joined;
use crate::update::pull_request::Text;

/// Inputs that are named in a sentence.
const NAMED: usize = 4;
/// Lines of a reason.
const LINES: usize = 40;

/// What moves, and under which terms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// Inputs.
    pub(super) moves: &'a [Moved],
    /// Known issues that were accepted by their numbers.
    pub(super) accepted: &'a [u64],
    /// The issue of the flake's own repository that this is for.
    pub(super) issue: Option<u64>,
}

impl Change<'_> {
    fn title(&self) -> String {
        let mut names: Vec<String> = self.moves.iter().map(|m| plain(&m.input)).collect();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("flake: update {}{more}", names.join(", "))
    }

    /// For the report, which says the issue's number itself; `built`: the run that built it, which
    /// nothing else ties to the one that deploys.
    pub(super) fn message(&self, built: Option<&str>) -> String {
        let numbers: Vec<String> = self.accepted.iter().map(|n| format!("nixpkgs {n}")).collect();
        let accepted = match numbers.as_slice() {
            [] => String::new(),
            numbers => format!(" (known issue accepted: {})", numbers.join(", ")),
        };
        let built = built.map(|run| joined::built_by(&plain(run))).unwrap_or_default();
        self.title() + &accepted + &built
    }

    /// The first line of a commit.
    pub(super) fn subject(&self) -> String {
        let issue = self.issue.map(|n| format!(" (#{n})")).unwrap_or_default();
        self.title() + &issue
    }

    /// The whole message of a commit.
    pub(super) fn commit(&self) -> String {
        let mut text = self.subject() + "\n\n";
        for moved in self.moves {
            let (from, to) = (of(&moved.from, &moved.from_date), of(&moved.to, &moved.to_date));
            text.push_str(&format!("{} {from} -> {to}\n", plain(&moved.input)));
        }
        if !self.accepted.is_empty() {
            text.push('\n');
        }
        for number in self.accepted {
            text.push_str(&format!("Issue-Accepted: {REDIRECT}/{number}\n"));
        }
        text
    }

    /// The pull request, opened before these hosts are deployed; `held` are left as they are.
    pub(super) fn pull_request(&self, hosts: &[HostName], held: &[HostName]) -> Text {
        let mut body = "| input | from | to |\n|---|---|---|\n".to_owned();
        for moved in self.moves {
            let (from, to) = (of(&moved.from, &moved.from_date), of(&moved.to, &moved.to_date));
            let to = match &moved.compare {
                Some(link) => format!("[{to}]({link})"),
                None => to,
            };
            body.push_str(&format!("| {} | {from} | {to} |\n", plain(&moved.input)));
        }
        let names = |hosts: &[HostName]| {
            hosts.iter().map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", ")
        };
        body.push_str(&format!("\nFor {}.", names(hosts)));
        if !held.is_empty() {
            body.push_str(&format!(" Held, for what is known to be wrong: {}.", names(held)));
        }
        body.push_str(" To be merged when they are healthy, and closed when none keeps it.\n");
        for number in self.accepted {
            body.push_str(&format!("\nAccepted: [nixpkgs {number}]({REDIRECT}/{number})\n"));
        }
        if let Some(issue) = self.issue {
            body.push_str(&format!("\nFor #{issue}.\n"));
        }
        Text { title: self.subject(), body }
    }
}

/// `9be77d0 2026-09-15`.
fn of(rev: &Option<String>, date: &Option<String>) -> String {
    let words: Vec<String> = [rev, date].into_iter().flatten().map(|w| plain(w)).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}

/// Nothing that GitHub, a shell or Markdown would read as more than a word.
fn plain(word: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./+=".contains(c);
    word.chars().map(|c| if fine(c) { c } else { '_' }).collect()
}

/// Why no host keeps the new system, as a comment: what the hosts said stands between fences,
/// where GitHub reads no reference and no name.
pub(super) fn reason(state: &RunState) -> String {
    let mut lines = Vec::new();
    for host in &state.hosts {
        let Some(report) = &host.report else {
            lines.push(format!("{}: no last word", host.name));
            continue;
        };
        lines.push(format!("{}: {}", host.name, report.note));
        lines.extend(report.causes.iter().map(|cause| format!("  {cause}")));
    }
    lines.truncate(LINES);
    let lines: Vec<String> = lines.iter().map(|l| harmless::line(l)).collect();
    let ticks = |line: &String| {
        let runs = line.split(|c| c != '`').map(str::len);
        runs.max().unwrap_or(0)
    };
    let fence = "`".repeat(lines.iter().map(ticks).max().unwrap_or(0).max(2) + 1);
    let run = plain(&state.run);
    format!(
        "Not merged: no host keeps the new system (run {run}).\n\n{fence}text\n{}\n{fence}\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamped;

    fn moved(input: &str) -> Moved {
        let some = |word: &str| Some(word.to_owned());
        Moved {
            input: input.to_owned(),
            from: some("1f0c2ab"),
            from_date: some("2026-08-19"),
            to: some("9be77d0"),
            to_date: some("2026-09-15"),
            compare: some("https://github.com/NixOS/nixpkgs/compare/1f0c2ab...9be77d0"),
            ..Moved::default()
        }
    }

    #[test]
    fn a_commit_names_the_own_issue_and_pings_no_other() {
        let moves = [moved("nixpkgs"), moved("x#7 @someone `fixes NixOS/nixpkgs#8`")];
        let change = Change { moves: &moves, accepted: &[562_919], issue: Some(123) };
        insta::assert_snapshot!(change.commit(), @r"
        flake: update nixpkgs, x_7__someone__fixes_NixOS/nixpkgs_8_ (#123)

        nixpkgs 1f0c2ab 2026-08-19 -> 9be77d0 2026-09-15
        x_7__someone__fixes_NixOS/nixpkgs_8_ 1f0c2ab 2026-08-19 -> 9be77d0 2026-09-15

        Issue-Accepted: https://redirect.github.com/NixOS/nixpkgs/issues/562919
        ");
        let told = "flake: update nixpkgs (known issue accepted: nixpkgs 562919)";
        assert_eq!(Change { moves: &moves[..1], ..change }.message(None), told);
        let none = Change { moves: &moves[..1], accepted: &[], issue: None };
        assert_eq!(none.subject(), "flake: update nixpkgs");
        let told = "flake: update nixpkgs, built by run 1a2b3c";
        assert_eq!(none.message(Some("1a2b3c")), told);
        assert!(!none.commit().contains("Issue-Accepted"));
    }

    #[test]
    fn a_pull_request_tells_what_it_waits_for() {
        let host = |name: &str| HostName::new(name).expect("a name");
        let moves = [moved("nixpkgs")];
        let change = Change { moves: &moves, accepted: &[562_919], issue: Some(123) };
        let text = change.pull_request(&[host("p620")], &[host("ws")]);
        let link = "https://github.com/NixOS/nixpkgs/compare/1f0c2ab...9be77d0";
        let row = format!("| nixpkgs | 1f0c2ab 2026-08-19 | [9be77d0 2026-09-15]({link}) |\n");
        let foreign = "(https://redirect.github.com/NixOS/nixpkgs/issues/562919)";
        for part in [row.as_str(), "For `p620`.", "wrong: `ws`.", foreign, "\nFor #123.\n"] {
            assert!(text.body.contains(part), "{part} {}", text.body);
        }
    }

    #[test]
    fn a_reason_is_quoted_whatever_it_holds() {
        let line = r#"{"index":0,"at_ms":0,"elapsed_ms":0,"event":"host_finished","host":"a",
            "outcome":"rolled_back","phase":"verify","note":"app failed ```` @someone #1",
            "causes":["exit 4"],"before":null,"after":null,"decided_by":"deployer","next":[]}"#;
        let event: Stamped = serde_json::from_str(&line.replace('\n', " ")).expect("an event");
        let told = reason(&RunState::of(&[event]));
        let fence = "`````";
        let quoted = format!("{fence}text\na: app failed ```` @someone #1\n  exit 4\n{fence}\n");
        assert!(told.ends_with(&quoted), "{told}");
        assert!(told.starts_with("Not merged: no host keeps the new system"), "{told}");
    }
}
