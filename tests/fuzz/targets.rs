//! Every parser of outside text, with what must hold of its answer whatever it is given.
//!
//! A target takes one text, as `world::process` hands it on: lossily decoded, in lines without
//! their ends. It may not panic, not forget what it promises, and let nothing pass that a
//! terminal would obey. `tests/fuzz.rs` mutates texts for it on every run; `tests/fuzz/guided`
//! does so with libFuzzer, by coverage.

use std::path::Path;

use nixdeploy::activate::guard::{self, Said};
use nixdeploy::activate::returned;
use nixdeploy::build::failure::Stage;
use nixdeploy::build::output::{Heard, Log};
use nixdeploy::build::{closure, derivation, failure};
use nixdeploy::event::{Severity, harmless};
use nixdeploy::fleet::{StorePath, hosts_toml};
use nixdeploy::issues::{Rules, address, check, fetch, inventory_file, issue};
use nixdeploy::preflight::{answer, exposure, rehearse};
use nixdeploy::update::chosen::{Chosen, chosen};
use nixdeploy::update::fetching;
use nixdeploy::update::lock::{Lock, moves};
use nixdeploy::validate::fix::{self, Fixed};
use nixdeploy::validate::{Base, Depth, Job, examine_jobs};
use nixdeploy::verify::{observe, units};
use nixdeploy::world::{Ended, Output, ssh};

/// A parser, under the name that its texts and its test have.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: &'static str,
    /// Gives it one text; panics when something does not hold.
    pub(crate) run: fn(&str),
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "hosts_toml", run: of_hosts_toml },
    Target { name: "journal", run: of_journal },
    Target { name: "nix_log", run: of_nix_log },
    Target { name: "guard", run: of_guard },
    Target { name: "checks", run: of_checks },
    Target { name: "facts", run: of_facts },
    Target { name: "rehearsal", run: of_rehearsal },
    Target { name: "closure_list", run: of_closure_list },
    Target { name: "store_path", run: of_store_path },
    Target { name: "derivation", run: of_derivation },
    Target { name: "issues", run: of_issues },
    Target { name: "inventory", run: of_inventory },
    Target { name: "syntax", run: of_syntax },
    Target { name: "fix", run: of_fix },
    Target { name: "exposure", run: of_exposure },
    Target { name: "redaction", run: of_redaction },
    Target { name: "flake_lock", run: of_flake_lock },
    Target { name: "missing_paths", run: of_missing_paths },
];

/// C0, C1, and what changes the direction of a text; written down here once more, so that a gap
/// in the program's own list is seen.
fn obeyed(c: char) -> bool {
    let direction = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    direction || c.is_control()
}

fn assert_harmless(text: &str) {
    assert!(!text.chars().any(obeyed), "this draws: {text:?}");
}

fn of_hosts_toml(text: &str) {
    let source = Path::new("hosts.toml");
    let mistakes = match hosts_toml::parse(source, text) {
        Ok(fleet) => {
            for host in &fleet.hosts {
                let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                let name = host.name.as_str();
                assert!(name.chars().all(plain) && !name.starts_with('-'), "{name:?}");
                for address in &host.addresses {
                    assert!(!address.as_str().starts_with('-'), "{address}");
                }
            }
            return;
        }
        Err(mistakes) => mistakes,
    };
    assert!(!mistakes.is_empty(), "refused without a word");
    for mistake in &mistakes {
        assert_harmless(&mistake.message);
    }
    let drawn = hosts_toml::render(&mistakes, source, text, false);
    drawn.lines().for_each(assert_harmless);
}

fn of_journal(text: &str) {
    let mut reader = observe::Reader::default();
    reader.take("section=journal");
    for line in text.lines() {
        reader.take(line);
        if let Said::Line { text, .. } = guard::read(line) {
            assert_harmless(&text);
        }
    }
    let (seen, _) = reader.finish();
    for entry in &seen.journal {
        assert_harmless(&entry.source);
        assert_harmless(&entry.message);
    }
}

fn of_nix_log(text: &str) {
    let mut log = Log::default();
    for line in text.lines() {
        if let Heard::Line(line) = log.take(line) {
            assert_harmless(&line);
        }
    }
    assert!(log.plain.len() <= 100 && log.errors.len() <= 100);
    for stage in [Stage::Evaluation, Stage::Build] {
        let error = failure::sort(&log, Ended::Exited(1), stage, "here");
        assert_harmless(&error.to_string());
        error.details().iter().for_each(|line| assert_harmless(line));
        error.hints().iter().for_each(|line| assert_harmless(line));
    }
}

fn of_guard(text: &str) {
    let mut status = guard::Status::default();
    for line in text.lines() {
        if let Said::Fact(key, value) = guard::read(line) {
            status.learn(&key, &value);
        }
    }
    for said in [&status.owner, &status.phase, &status.reason, &status.tx, &status.boot_id] {
        assert_harmless(said);
    }
    status.log.iter().chain(&status.missing).for_each(|line| assert_harmless(line));
    let _ = status.seconds_left();
    let _ = returned::of(Box::new(status));
}

/// An inventory that every rule has something to say of.
const FLEET: &str = include_str!("../fixtures/issues/second/inventory.json");

fn of_issues(text: &str) {
    let inventory = inventory_file::parse(FLEET, 0).expect("an inventory");
    let mut issues: Vec<_> =
        fetch::items(text.as_bytes()).unwrap_or_default().iter().filter_map(issue::read).collect();
    // Whatever it is, it can be a title, a body and a link.
    let wrapped = serde_json::json!({"number": 1, "title": text, "body": text, "state": "open",
        "created_at": "2026-07-01T00:00:00Z", "labels": [text]});
    issues.extend(issue::read(&wrapped));
    for issue in &issues {
        assert_harmless(&issue.title);
        issue.labels.iter().chain(&issue.facts).for_each(|line| assert_harmless(line));
    }
    let verdict = check(&inventory, &issues, &Rules::default());
    verdict.items.iter().for_each(|item| assert_harmless(&item.title));
    assert_eq!(verdict.gate.len(), 3);
    let api = address::Address::parse("http://127.0.0.1:7", address::Named::Person);
    if let Ok(Some(next)) = api.expect("an address").next(Some(text)) {
        assert!(next.starts_with("http://127.0.0.1:7"), "{next}");
    }
}

fn of_inventory(text: &str) {
    match inventory_file::parse(text, 0) {
        Ok(inventory) => {
            inventory.host_names().iter().for_each(|name| assert_harmless(name));
            inventory.packages.iter().for_each(|p| assert_harmless(&p.pname));
            let _ = check(&inventory, &[], &Rules::default());
        }
        Err(sentence) => assert_harmless(&sentence),
    }
}

fn of_checks(text: &str) {
    let mut reader = observe::Reader::default();
    let all_taken = text.lines().any(|line| reader.take(line));
    let (seen, _) = reader.finish();
    assert!(!all_taken || text.contains("checks=done"));
    for (name, unit) in &seen.units {
        assert_harmless(name);
        assert_harmless(&unit.status());
    }
    seen.oddities.iter().for_each(|odd| assert_harmless(odd));
    let _ = (seen.complete(), units::parse_restarts(text.lines()));
}

fn of_facts(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let (facts, oddities) = answer::parse(&lines);
    let (early, _) = answer::parse_early(&lines);
    assert_eq!(facts.early, early, "both readings agree");
    for said in [&early.hostname, &early.machine_id, &early.boot_id] {
        assert_harmless(said);
    }
    assert!(oddities.len() <= 50);
    oddities.iter().for_each(|odd| assert_harmless(&odd.line));
    let _ = facts.vitals();
}

fn of_rehearsal(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let output = Output { ended: Ended::Exited(0), out: lines.clone(), err: lines };
    for staged in [false, true] {
        match rehearse::judge(&output, staged) {
            Ok(rehearsal) => {
                rehearsal.notes.iter().for_each(|note| assert_harmless(note));
                if let Some((old, new)) = &rehearsal.exposure {
                    let found = exposure::findings(old, new, Some("admin"));
                    found.iter().for_each(|f| assert_harmless(&f.message));
                    assert_eq!(exposure::findings(new, new, Some("admin")), []);
                }
            }
            Err(refused) => {
                assert_harmless(&refused.sentence());
                refused.causes().iter().for_each(|cause| assert_harmless(cause));
            }
        }
    }
    assert_harmless(&harmless::line(ssh::diagnose(&output.err).text()));
}

fn of_closure_list(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (paths, whole) = closure::parse(&lines);
    assert!(paths.len() <= lines.len());
    assert!(!whole || lines.last().is_some_and(|l| l == "end=0"));
}

/// As the manual of Nix defines it: one component, 32 letters of base 32, a name.
fn of_store_path(text: &str) {
    let parts = text.strip_prefix("/nix/store/").and_then(|rest| rest.split_once('-'));
    let good = parts.is_some_and(|(hash, name)| {
        hash.len() == 32
            && hash.bytes().all(|b| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&b))
            && (1..=211).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b))
    });
    match StorePath::new(text) {
        Ok(path) => assert!(good && path.as_str() == text && path.hash().len() == 32, "{text:?}"),
        Err(error) => {
            assert!(!good, "{text:?}");
            assert_harmless(&error.to_string());
        }
    }
}

fn of_derivation(text: &str) {
    if let Some(path) = derivation::out_path(text) {
        assert!(path.as_str().starts_with("/nix/store/"), "{path}");
    }
}

/// The grammar and every rule.
fn of_syntax(text: &str) {
    let job = Job { path: "a.nix".into(), bytes: Some(text.into()), base: Base::None };
    let depth = Depth { rules: true, drawn: usize::MAX, old: true };
    let examined = examine_jobs(Path::new("/"), &[job], depth);
    for (_, found) in examined.all() {
        assert!(found.fault.range.start <= found.fault.range.end, "{found:?}");
        assert!(found.from.line >= 1 && found.from.column >= 1, "{found:?}");
        assert!(!found.fault.message.is_empty());
        assert!(found.fault.code != "check-failed" || text.contains("..."), "{found:?}");
    }
    examined.findings().iter().for_each(|finding| assert_harmless(&finding.message));
    for unicode in [false, true] {
        examined.drawn(false, unicode).lines().for_each(assert_harmless);
    }
    if let Fixed::Text(new, count) = fix::mend(text, &[]) {
        assert!(count > 0 && new != text);
        let job = Job { path: "a.nix".into(), bytes: Some(new.into()), base: Base::None };
        let again = examine_jobs(Path::new("/"), &[job], depth);
        let broken = again.told().find(|(_, f)| f.fault.code == "syntax-error");
        assert_eq!(broken.map(|(_, f)| f.fault.message), None, "{text:?}");
    }
}

/// What is mended again and again comes to an end, and stays a text that Nix takes.
fn of_fix(text: &str) {
    let mut text = text.to_owned();
    let mut rounds = 0;
    while let Fixed::Text(new, count) = fix::mend(&text, &[]) {
        assert!(count > 0 && new != text);
        assert!(new.len() <= text.len() + 4 * count, "{text:?} {new:?}");
        let depth = Depth { rules: false, drawn: 0, old: true };
        let job = Job { path: "a.nix".into(), bytes: Some(new.clone().into()), base: Base::None };
        let again = examine_jobs(Path::new("/"), &[job], depth);
        assert!(again.worst() < Some(Severity::Block), "{text:?} {new:?}");
        text = new;
        rounds += 1;
        assert!(rounds <= 1_000, "{text:?}");
    }
}

fn of_exposure(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let output = Output { ended: Ended::Exited(0), out: lines, err: Vec::new() };
    let Some((old, new)) = exposure::both(&output) else { return };
    for login in [None, Some("root"), Some("admin")] {
        let found = exposure::findings(&old, &new, login);
        found.iter().for_each(|f| assert_harmless(&f.message));
        assert_eq!(exposure::findings(&new, &new, login), []);
        assert_eq!(exposure::findings(&old, &old, login), []);
    }
}

/// No name is a flag, no link is anything but one, and a lock does not differ from itself.
fn of_flake_lock(text: &str) {
    let Ok(lock) = Lock::parse(text.as_bytes()) else { return };
    assert_eq!(moves(&lock, &lock), []);
    let inputs: Vec<String> = lock.inputs().into_keys().map(str::to_owned).collect();
    for input in &inputs {
        let _ = (lock.locked(input), lock.follows(input));
        if let Ok(Chosen::Some(names)) = chosen(&lock, &[], std::slice::from_ref(input)) {
            assert!(names.iter().all(|n| !n.starts_with('-') && n.is_ascii() && n != input));
        }
    }
    let recorded = include_str!("../fixtures/update/flake.lock");
    let recorded = Lock::parse(recorded.as_bytes()).expect("a lock");
    for moved in moves(&recorded, &lock) {
        let link = moved.from.zip(moved.to).and_then(|(from, to)| from.compare(&to));
        if let Some(link) = link {
            assert!(link.starts_with("https://") && link.chars().all(|c| c.is_ascii_graphic()));
        }
    }
}

fn of_missing_paths(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(found) = fetching::parse(&lines) {
        assert!(found.fetch > 0 || found.download == 0, "{found:?}");
    }
}

fn of_redaction(text: &str) {
    for line in text.lines() {
        let shown = harmless::line(line);
        assert!(shown.chars().count() <= harmless::WIDTH, "{shown:?}");
        assert_harmless(&shown);
        assert_eq!(harmless::line(&shown), shown, "a second look changes nothing");
    }
    let once = harmless::redact(text);
    assert_eq!(harmless::redact(&once), once);
    for line in harmless::lines(text.lines()) {
        assert_harmless(&line);
    }
}
