//! Which issues concern a fleet: what is no report at all is left out, then the subject of a
//! title decides, then an option's path, then names within it.

use super::claims::{self, Said};
use super::inventory::Inventory;
use super::issue::{Issue, State};
use super::names::{Named, Names, common};
use super::phase::{Nature, standing};
use super::severity::{Case, Kind};
use super::title::{Title, Token, normal, tokens};
use super::versions::{Claim, Meant};
use super::words::{Harm, fit, is_elsewhere};
use super::{Confidence, Phase, Severity};

/// An issue and a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) host: String,
    /// Its place in the inventory.
    pub(super) package: Option<usize>,
    pub(super) module: Option<String>,
    pub(super) phase: Phase,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    pub(super) other_hardware: bool,
    pub(super) unchanged: bool,
}

/// What an issue is about.
#[derive(Debug, Default)]
struct About {
    packages: Vec<usize>,
    module: Option<String>,
    subject: bool,
    claim: Claim,
    /// The version in the name is that of another package.
    sibling: bool,
}

/// An inventory, ready to be asked.
pub(super) struct Matcher<'a> {
    inventory: &'a Inventory,
    names: Names,
    hosts: Vec<&'a str>,
}

/// Labels of what is no report of a fault.
const NO_REPORT: [&str; 9] = [
    "9.needs: package",
    "9.needs: module (new)",
    "0.kind: enhancement",
    "0.kind: question",
    "0.kind: packaging request",
    "documentation",
    "5.scope: tracking",
    "2.status: duplicate",
    "2.status: invalid",
];
/// Beginnings of such titles.
const NO_TITLES: [&str; 16] = [
    "update request",
    "package request",
    "packaging request",
    "module request",
    "feature request",
    "request to update",
    "request for",
    "please update",
    "please add",
    "rfc",
    "wiki",
    "[staging",
    "tracking issue",
    "[tracking",
    "vulnerability roundup",
    "add support for",
];
/// Where the options of modules are that are enabled or not.
const MODULES: [&str; 4] = ["services", "programs", "virtualisation", "hardware"];
/// Where all other options are.
const OPTIONS: [&str; 10] = [
    "boot",
    "networking",
    "security",
    "users",
    "environment",
    "systemd",
    "nix",
    "system",
    "i18n",
    "fileSystems",
];

impl<'a> Matcher<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Self {
        Self { inventory, names: Names::of(inventory), hosts: inventory.host_names() }
    }

    /// Every host that an issue concerns.
    pub(super) fn hits(&self, issue: &Issue) -> Vec<Hit> {
        let title = Title::read(&issue.title);
        if is_no_report(issue, &title) {
            return Vec::new();
        }
        if !issue.advisory.affected.is_empty() {
            return self.advisory(issue, &title);
        }
        let Some(about) = self.about(issue, &title) else { return Vec::new() };
        let mut said = claims::read(&title.words, &self.names, &about.packages);
        // The version in the name of a sibling says which one it is. It is all of that which is bad
        // where nothing says better.
        let series: &[String] = if about.sibling { &about.claim.bad } else { &[] };
        if said.own.is_empty() && (about.claim.is_empty() || about.sibling) {
            let mut told = Claim::default();
            for fact in &issue.facts {
                told.join(claims::read(&tokens(fact), &self.names, &about.packages).own);
            }
            if !about.sibling || told.speaks_of(series) {
                said.own = told;
            }
        }
        match said.own.speaks_of(series) {
            true => said.own.within = series.to_vec(),
            false => said.own.join(about.claim.clone()),
        }
        self.judge(issue, &title, &about, &said)
    }

    /// What the security tracker lists; its title may be anything.
    fn advisory(&self, issue: &Issue, title: &Title) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (attr, versions) in &issue.advisory.affected {
            let exact = |at: &usize| {
                let package = &self.inventory.packages[*at];
                let own = package.attr.as_deref().unwrap_or(&package.pname);
                normal(own) == normal(attr) || package.attr.is_none()
            };
            let Some(named) = self.names.with_version(attr) else { continue };
            let packages: Vec<usize> = named.packages.into_iter().filter(exact).collect();
            let about = About { packages, subject: true, ..About::default() };
            let said = Said {
                own: Claim { bad: versions.clone(), ..Claim::default() },
                ..Said::default()
            };
            hits.extend(self.judge(issue, title, &about, &said));
        }
        hits
    }

    /// What an issue is about; `None`: nothing of ours.
    fn about(&self, issue: &Issue, title: &Title) -> Option<About> {
        if title.module
            && let Some(about) = self.module(title)
        {
            return about;
        }
        for subject in &title.subject {
            if let Some(about) = self.option(subject) {
                return about;
            }
        }
        let found = title.subject.iter().filter_map(|s| self.names.subject(s));
        let mut found = found.peekable();
        if found.peek().is_some() {
            let mut about = About { subject: true, ..About::default() };
            for named in found {
                about.packages.extend(named.packages);
                about.sibling |= named.sibling;
                about.claim.join(named.claim);
            }
            return Some(about);
        }
        if title.subject.iter().any(|s| is_name(s)) {
            return None;
        }
        let option = title.words.iter().filter_map(|w| match w {
            Token::Word(word) => self.option(word),
            Token::Sign(_) => None,
        });
        if let Some(about) = option.into_iter().next() {
            return about;
        }
        self.mentioned(title).or_else(|| self.nameless(issue, title))
    }

    /// `nixos/NAME`: a module that is enabled, or one that every system has.
    fn module(&self, title: &Title) -> Option<Option<About>> {
        let subject = title.subject.first()?;
        let name = normal(subject);
        let packages = self.names.subject(subject).map(|n| n.packages);
        let packages = packages.unwrap_or_else(|| self.names.beginning(&name));
        let Some(modules) = &self.inventory.modules else { return None };
        let short = |path: &str| path.rsplit('.').next().map(normal).unwrap_or_default();
        let same = |path: &String| {
            let short = short(path);
            normal(path) == name
                || short == name
                || short.strip_suffix('d') == Some(&name)
                || normal(path).ends_with(&format!(".{name}"))
                || name.strip_prefix("services/").is_some_and(|n| n == short)
        };
        if let Some(module) = modules.iter().find(|m| same(m)) {
            let module = Some(module.clone());
            return Some(Some(About { packages, module, subject: true, ..About::default() }));
        }
        let vital = |at: &usize| self.inventory.packages[*at].is_boot_critical();
        match packages.iter().any(vital) {
            true => Some(Some(About { packages, subject: true, ..About::default() })),
            false => Some(None),
        }
    }

    /// An option's path; `Some(None)`: of a module that is not enabled.
    fn option(&self, word: &str) -> Option<Option<About>> {
        let path = word.trim_end_matches(".enable");
        let (first, rest) = path.split_once('.')?;
        if rest.is_empty() || !MODULES.contains(&first) && !OPTIONS.contains(&first) {
            return None;
        }
        let Some(modules) = &self.inventory.modules else { return None };
        let below = |module: &&String| {
            path == module.as_str()
                || path.strip_prefix(module.as_str()).is_some_and(|r| r.starts_with('.'))
        };
        match modules.iter().filter(below).max_by_key(|m| m.len()) {
            Some(module) => {
                let name = module.rsplit('.').next().unwrap_or(module);
                let packages = self.names.subject(name).map(|n| n.packages).unwrap_or_default();
                let module = Some(module.clone());
                Some(Some(About { packages, module, subject: true, ..About::default() }))
            }
            None if MODULES.contains(&first) => Some(None),
            None => None,
        }
    }

    /// The first name within a title; the longest of those that begin at one place.
    fn mentioned(&self, title: &Title) -> Option<About> {
        let words = &title.words;
        for at in 0..words.len() {
            for length in (1..=3).rev() {
                let Some(part) = words.get(at..at + length) else { continue };
                let names: Vec<String> = part.iter().map(Token::name).collect();
                if names.iter().any(String::is_empty) {
                    continue;
                }
                let spaced = self.named_at(&names.join(" "), words, at + length);
                let Some(named) = spaced.or_else(|| {
                    // `Element Desktop` is element-desktop.
                    Some(names.join("-"))
                        .filter(|_| length > 1)
                        .and_then(|n| self.names.mention(&n))
                }) else {
                    continue;
                };
                let lead = (at == 0 || at == title.words.len() - title.behind().len())
                    && !common().any(|w| w == names[0]);
                return Some(About {
                    packages: named.packages,
                    subject: lead,
                    claim: named.claim,
                    sibling: named.sibling,
                    module: None,
                });
            }
        }
        None
    }

    /// A name that means its package where it stands: common words need a version beside them.
    fn named_at(&self, name: &str, words: &[Token], next: usize) -> Option<Named> {
        if let Some(named) = self.names.mention(name) {
            return Some(named);
        }
        let numbered = |token: Option<&Token>| {
            token.is_some_and(|t| {
                t.lower().contains('.') && t.lower().starts_with(|c: char| c.is_ascii_digit())
            })
        };
        let before = next.checked_sub(2).and_then(|at| words.get(at));
        let beside = numbered(words.get(next)) || name == "kernel" && numbered(before);
        beside.then(|| self.names.with_version(name)).flatten()
    }

    /// A machine that does not come up since a version which is the kernel's.
    fn nameless(&self, issue: &Issue, title: &Title) -> Option<About> {
        let named = self.names.with_version("linux")?;
        let harm = Harm::of(title);
        let said = claims::read(&title.words, &self.names, &named.packages);
        let kernel = issue.labels.iter().any(|l| l.contains("kernel"));
        let meant = named.packages.iter().any(|at| {
            let package = &self.inventory.packages[*at];
            let versions = [&package.installed, &package.candidate];
            versions.into_iter().flatten().any(|v| said.own.means(v) == Meant::Yes)
        });
        (harm.boot && (meant || kernel) && title.subject.is_empty())
            .then(|| About { packages: named.packages, ..About::default() })
    }

    fn judge(&self, issue: &Issue, title: &Title, about: &About, said: &Said) -> Vec<Hit> {
        let inventory = self.inventory;
        let kind = kind(issue, title);
        let lower = title.rest.to_lowercase();
        let moved = ["after updat", "after upgrad", "after the update", "regression", "since"];
        let nature = Nature {
            subject: about.subject,
            security: kind == Kind::Security,
            new: about.module.is_some()
                || kind == Kind::Regression
                || kind == Kind::BuildFailure
                || moved.iter().any(|m| lower.contains(m)),
        };
        let mut hits = Vec::new();
        let harm = Harm::of(title);
        let places: Vec<Option<usize>> = match about.packages.is_empty() {
            true => vec![None],
            false => about.packages.iter().map(|at| Some(*at)).collect(),
        };
        for place in places.into_iter().filter(|p| p.is_some() || about.module.is_some()) {
            let package = place.map(|at| &inventory.packages[at]);
            let claim = self.with_others(said, package);
            let versions = package.into_iter().flat_map(|p| [&p.installed, &p.candidate]);
            let of_series = versions.flatten().any(|v| claim.encloses(v));
            let subject = about.subject && (!about.sibling || of_series);
            let nature = Nature { subject, ..nature };
            let Some(standing) = standing(inventory, issue, package, &claim, nature) else {
                continue;
            };
            let confidence = match (standing.by_version, about.subject) {
                (true, _) => Confidence::Version,
                (false, true) => Confidence::Subject,
                (false, false) => Confidence::Mention,
            };
            let case = Case {
                issue,
                package,
                standing,
                confidence,
                harm,
                kind,
                module: about.module.is_some(),
                foreign: said.foreign,
                age_ms: inventory.now_ms.saturating_sub(issue.created_ms),
            };
            let own: Vec<&str> =
                package.iter().flat_map(|p| &p.hosts).map(String::as_str).collect();
            for host in if own.is_empty() { &self.hosts } else { &own } {
                let hardware = inventory.hosts.get(*host);
                let fits = hardware.map_or_else(
                    || fit(title, &Default::default()),
                    |hardware| fit(title, hardware),
                );
                hits.push(Hit {
                    host: (*host).to_owned(),
                    package: place,
                    module: about.module.clone(),
                    phase: standing.phase,
                    severity: case.severity(hardware, fits),
                    confidence,
                    other_hardware: fits == super::words::Fit::Other,
                    unchanged: standing.unchanged,
                });
            }
        }
        hits
    }

    /// The claim on a package. What is said only of others counts through their versions here: it
    /// means the versions of the package that come with theirs.
    fn with_others(&self, said: &Said, package: Option<&super::inventory::Package>) -> Claim {
        let mut claim = said.own.clone();
        let Some(package) = package.filter(|_| claim.is_empty()) else { return claim };
        for (others, other) in &said.others {
            let Some(theirs) = others.iter().map(|at| &self.inventory.packages[*at]).next() else {
                continue;
            };
            let meant =
                |version: &Option<String>| version.as_ref().map_or(Meant::No, |v| other.means(v));
            let (old, new) = (meant(&theirs.installed), meant(&theirs.candidate));
            let versions = [(&package.installed, old), (&package.candidate, new)];
            for (own, meant) in versions {
                match (own, meant) {
                    (Some(own), Meant::Yes) => claim.bad.push(own.clone()),
                    (Some(own), Meant::No) if package.moves() || old == new => {
                        claim.good.push(own.clone());
                    }
                    _ => {}
                }
            }
        }
        claim
    }
}

fn kind(issue: &Issue, title: &Title) -> Kind {
    let has = |word: &str| issue.labels.iter().any(|l| l.contains(word));
    let upper = issue.title.to_ascii_uppercase();
    let weakness = !issue.advisory.affected.is_empty()
        || has("severity: security")
        || upper.contains("CVE-")
        || upper.contains("GHSA-");
    let lower = title.rest.to_lowercase();
    let built = ["fails to build", "does not build", "build failure", "fails building"];
    if weakness {
        Kind::Security
    } else if title.build_failure || has("build failure") || built.iter().any(|b| lower.contains(b))
    {
        Kind::BuildFailure
    } else if has("regression") {
        Kind::Regression
    } else {
        Kind::Other
    }
}

/// Whether a subject is the name of some package or module, though none of ours.
fn is_name(subject: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
    let about_nothing = [
        "nixos",
        "unstable",
        "bug",
        "regression",
        "wayland",
        "x11",
        "nixpkgs",
        "stable",
        "gnome",
        "kde",
        "plasma",
        "master",
        "staging",
        "security",
        "boot",
        "help",
        "problem",
        "issue",
        "error",
        "warning",
        "update",
        "upgrade",
    ];
    let lower = subject.to_lowercase();
    let release = super::issue::is_release(&lower);
    let system =
        lower.ends_with("-linux") && (lower.starts_with("x86") || lower.starts_with("aarch"));
    let named = subject.contains(|c: char| c.is_ascii_alphabetic())
        && !subject.starts_with(|c: char| c.is_ascii_digit());
    named
        && subject.chars().all(plain)
        && !release
        && !system
        && !about_nothing.contains(&lower.as_str())
}

/// Requests, trackers, questions, duplicates, other systems.
fn is_no_report(issue: &Issue, title: &Title) -> bool {
    let label = |no: &&str| issue.labels.iter().any(|l| l.contains(*no));
    let weakness = !issue.advisory.affected.is_empty();
    let lower = issue.title.to_lowercase();
    let begins = |no: &&str| lower.trim_start().starts_with(*no);
    let darwin = issue.labels.iter().any(|l| l == "6.topic: darwin");
    let linux = issue.labels.iter().any(|l| l == "6.topic: nixos" || l == "6.topic: linux");
    issue.state == State::Duplicate
        || !weakness && NO_REPORT.iter().any(label)
        || !weakness && NO_TITLES.iter().any(begins)
        || darwin && !linux
        || is_elsewhere(title)
}
