//! The rules: one file each, with texts that it must flag and texts that it must leave alone.
//!
//! A rule is data: what it is called, how bad it is, why it is there, and a function over the part
//! of a text that it is about. All rules of a file share one walk and one
//! [`Resolver`], and what that cannot tell is silence.

mod allow_unfree_blanket;
mod auto_import;
mod eval_time_secret;
mod firewall_disabled;
mod firewall_port_opened;
mod hardcoded_secret;
mod import_from_derivation;
mod missing_hardening;
mod missing_state_version;
mod mkif_constant;
mod mkif_true;
mod needless_rec;
mod nested_with;
mod nix_env_in_script;
mod no_dynamic_user;
mod path_division;
mod permitted_insecure_packages;
mod plaintext_password;
mod secret_world_readable;
mod self_reference;
mod service;
mod service_implicit_root;
mod service_runs_as_root;
mod ssh_password_auth;
mod ssh_root_login;
mod syntax_rules;
mod trivial_wrapper;
mod unpinned_fetch;
mod unquoted_url;
mod unused_suppression;
mod walk;

pub(super) use missing_state_version::{Entry, entries, without_version};
pub(super) use walk::{Walk, faults};

use rnix::{SyntaxKind, SyntaxNode};

use super::place::Place;
use super::resolve::{Definition, Resolver};
use super::syntax::Fault;
use crate::event::Severity;
use service::Service;

/// A rule.
pub struct Rule {
    /// Its stable name.
    pub id: &'static str,
    /// What a finding of it does, unless hosts.toml says otherwise.
    pub severity: Severity,
    /// What it flags, in a line.
    pub flags: &'static str,
    /// Why that matters and what to write instead.
    pub why: &'static str,
    /// Whether `--fix` can put it right.
    pub fixable: bool,
    /// It can say nothing of a text that holds none of these, small letters or not; none: of any
    /// text.
    pub(super) needs: &'static [&'static str],
    /// First words of the options that it is about; none: of any.
    pub(super) tops: &'static [&'static str],
    pub(super) check: Check,
    pub(super) bad: &'static [&'static str],
    pub(super) good: &'static [&'static str],
}

impl Rule {
    /// Texts that it must flag.
    pub fn bad(&self) -> &'static [&'static str] {
        self.bad
    }

    /// Texts that it must leave alone.
    pub fn good(&self) -> &'static [&'static str] {
        self.good
    }

    /// A text that it flags.
    pub fn example(&self) -> Option<&'static str> {
        self.bad.first().copied()
    }

    /// A text that it leaves alone.
    pub fn counterexample(&self) -> Option<&'static str> {
        self.good.first().copied()
    }

    /// Whether it is told by Nix's grammar and scopes, which nothing can switch off.
    pub fn is_syntax(&self) -> bool {
        matches!(self.check, Check::Syntax)
    }

    /// Whether a finding blocks however old it is.
    pub fn always_blocks(&self) -> bool {
        self.is_syntax() || ["eval-time-secret", "hardcoded-secret"].contains(&self.id)
    }

    /// Whether it is about what `nixpkgs.config` sets, which an import of nixpkgs sets too.
    fn needs_nixpkgs(&self) -> bool {
        ["allow-unfree-blanket", "permitted-insecure-packages"].contains(&self.id)
    }

    fn fault(&self, at: &SyntaxNode, message: impl Into<String>) -> Fault {
        let mut fault = Fault::new(self.id, trimmed(at), message);
        fault.severity = self.severity;
        fault
    }
}

/// What a rule looks at.
pub(super) enum Check {
    /// Told by the passes over syntax.
    Syntax,
    /// Nodes of these kinds, outside of documentation and declarations of options.
    Node(&'static [SyntaxKind], OfNode),
    /// Nodes of these kinds, wherever they stand.
    Anywhere(&'static [SyntaxKind], OfNode),
    /// Definitions of options.
    Option(fn(&File<'_>, &Definition<'_>) -> Option<Fault>),
    /// Services that the text defines.
    Service(fn(&Service) -> Option<Fault>),
    /// Sets whose `rec` nothing uses.
    Recursion,
    /// Several files together, or the comments that suppress.
    Elsewhere,
}

type OfNode = fn(&File<'_>, &Place<'_, '_>) -> Option<Fault>;

/// What a rule gets to see of a file.
pub(super) struct File<'a> {
    pub(super) resolver: &'a Resolver,
}

/// Every rule, the worst first and then by name.
pub static RULES: &[&Rule] = &[
    &syntax_rules::DUPLICATE_ATTR,
    &syntax_rules::DUPLICATE_FORMAL,
    &eval_time_secret::RULE,
    &hardcoded_secret::RULE,
    &mkif_true::RULE,
    &self_reference::RULE,
    &service_runs_as_root::RULE,
    &syntax_rules::SYNTAX_ERROR,
    &syntax_rules::UNDEFINED_VARIABLE,
    &auto_import::RULE,
    &firewall_disabled::RULE,
    &firewall_port_opened::RULE,
    &import_from_derivation::RULE,
    &missing_hardening::RULE,
    &missing_state_version::RULE,
    &nested_with::RULE,
    &nix_env_in_script::RULE,
    &path_division::RULE,
    &permitted_insecure_packages::RULE,
    &plaintext_password::RULE,
    &secret_world_readable::RULE,
    &service_implicit_root::RULE,
    &ssh_password_auth::RULE,
    &ssh_root_login::RULE,
    &unpinned_fetch::RULE,
    &unquoted_url::RULE,
    &unused_suppression::RULE,
    &allow_unfree_blanket::RULE,
    &mkif_constant::RULE,
    &needless_rec::RULE,
    &no_dynamic_user::RULE,
    &trivial_wrapper::RULE,
];

/// The rule of that name.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.id == id).copied()
}

/// A node without the blanks and comments at its end.
fn trimmed(node: &SyntaxNode) -> rnix::TextRange {
    let range = node.text_range();
    let last = node.last_token();
    let mut last = last.filter(|t| t.kind().is_trivia());
    let mut end = range.end();
    while let Some(token) = last {
        if token.text_range().start() < range.start() {
            break;
        }
        end = token.text_range().start();
        last = token.prev_token().filter(|t| t.kind().is_trivia());
    }
    rnix::TextRange::new(range.start(), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{Base, Depth, Examined, Job, examine_jobs};

    /// Checks each text as a file of its own.
    fn checked(texts: &[&str]) -> Examined {
        let job = |(n, text): (usize, &&str)| Job {
            path: format!("{n:04}/configuration.nix").into(),
            bytes: Some(text.as_bytes().to_vec()),
            base: Base::None,
        };
        let jobs: Vec<Job> = texts.iter().enumerate().map(job).collect();
        examine_jobs(std::path::Path::new("/"), &jobs, Depth { rules: true, drawn: 0, old: true })
    }

    /// Every finding of a text: its rule and message.
    fn told(text: &str) -> Vec<(&'static str, String)> {
        let examined = checked(&[text]);
        examined.told().map(|(_, f)| (f.fault.code, f.fault.message.clone())).collect()
    }

    #[test]
    fn each_rule_flags_its_bad_texts_and_leaves_the_good_ones_alone() {
        let mut wrong = Vec::new();
        for rule in RULES {
            assert!(!rule.bad.is_empty() && !rule.good.is_empty(), "{}", rule.id);
            for text in rule.bad {
                let told = told(text);
                if !told.iter().any(|(id, _)| *id == rule.id) {
                    wrong.push(format!("missed: {} {text} {told:?}", rule.id));
                }
            }
            for text in rule.good {
                let told = told(text);
                if told.iter().any(|(id, _)| *id == rule.id) {
                    wrong.push(format!("false: {} {text} {told:?}", rule.id));
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }

    #[test]
    fn examples_are_good_nix_but_those_of_the_rules_of_syntax() {
        for rule in RULES {
            let bad = rule.bad.iter().filter(|_| !rule.is_syntax());
            for text in bad.chain(rule.good) {
                let syntax =
                    |(id, _): &(&str, String)| super::rule(id).is_some_and(Rule::is_syntax);
                assert!(!told(text).iter().any(syntax), "{} {text} {:?}", rule.id, told(text));
            }
        }
    }

    #[test]
    fn rules_have_names_of_their_own_and_stand_in_order() {
        let order: Vec<_> = RULES.iter().map(|r| (std::cmp::Reverse(r.severity), r.id)).collect();
        assert!(order.is_sorted(), "{order:?}");
        let mut names: Vec<&str> = RULES.iter().map(|r| r.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
        let words = |t: &str| !t.is_empty() && !t.contains("  ");
        assert!(RULES.iter().all(|r| words(r.flags) && words(r.why)));
    }

    #[test]
    fn the_documentation_lists_every_rule() {
        let page = include_str!("../../docs/check.md");
        for rule in RULES {
            let severity = format!("{:?}", rule.severity).to_lowercase();
            let fix = if rule.fixable { ", `--fix`" } else { "" };
            let row = format!("| `{}` | {severity}{fix} | {} |", rule.id, rule.flags);
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_oneshot_service_is_milder() {
        let severity = |text: &str, id: &str| {
            let examined = checked(&[text]);
            let found = examined.told().find(|(_, f)| f.fault.code == id);
            found.map(|(_, f)| f.fault.severity)
        };
        let service = |more: &str| {
            format!("{{ systemd.services.a.serviceConfig = {{ ExecStart = \"x\"; {more} }}; }}")
        };
        let root = "service-runs-as-root";
        assert_eq!(severity(&service("User = \"root\";"), root), Some(Severity::Block));
        let once = service("User = \"root\"; Type = \"oneshot\";");
        assert_eq!(severity(&once, root), Some(Severity::Warn));
        assert_eq!(severity(&once, "missing-hardening"), Some(Severity::Info));
        let meta = "{ lib }: { meta = with lib; { license = with licenses; mit; }; }";
        assert_eq!(severity(meta, "nested-with"), Some(Severity::Info));
    }

    #[test]
    fn a_host_is_judged_by_all_its_modules() {
        let host = "{ imports = [ ./b.nix ../c ]; networking.hostName = \"a\"; }";
        let told = |files: &[(&str, &str)]| {
            let job = |(path, text): &(&str, &str)| Job {
                path: (*path).into(),
                bytes: Some(text.as_bytes().to_vec()),
                base: Base::None,
            };
            let jobs: Vec<Job> = files.iter().map(job).collect();
            let depth = Depth { rules: true, drawn: 0, old: true };
            let examined = examine_jobs(std::path::Path::new("/"), &jobs, depth);
            examined.told().any(|(_, f)| f.fault.code == "missing-state-version")
        };
        let empty = ("a/b.nix", "{ }");
        assert!(told(&[("a/configuration.nix", host), empty, ("c/default.nix", "{ }")]));
        let version = "{ system.stateVersion = \"24.05\"; }";
        assert!(!told(&[("a/configuration.nix", host), empty, ("c/default.nix", version)]));
        assert!(!told(&[("a/configuration.nix", host), empty]), "a module is not there");
        let shared = ("common.nix", version);
        let all = [("a/configuration.nix", host), empty, ("c/default.nix", "{ }"), shared];
        assert!(!told(&all), "a module for all hosts may set it");
    }
}
