//! The tables and documents of `status` and `ping-hosts` over invented hosts, as snapshots, and
//! what kept runs say of a host.
//!
//! Write snapshots anew with `INSTA_UPDATE=always cargo test --test main status::`.

use std::path::Path;

use insta::assert_snapshot;
use nixdeploy::activate::journal::{Record, Step};
use nixdeploy::build::{BuildError, Evaluated};
use nixdeploy::command::standing::{self, Known, not_evaluated, row};
use nixdeploy::event::facts::Disk;
use nixdeploy::exit::{self, Exit};
use nixdeploy::fleet::hosts_toml::parse;
use nixdeploy::fleet::{Fleet, Generation, HostName, StorePath};
use nixdeploy::preflight::facts::{Facts, Kept, Transaction, Unit};
use nixdeploy::preflight::read::Answered;
use nixdeploy::preflight::{Refused, answer};
use nixdeploy::report::board::{Board, SCHEMA, Trouble, document, lines};
use nixdeploy::report::look::{Look, columns_of};
use nixdeploy::report::memory::{LastDeploy, LastSeen, last_deploys, last_seen};
use nixdeploy::report::table;
use nixdeploy::world::ssh::Target;

use crate::report::{keeping, recorder};

const RECORDED: &str = include_str!("../src/preflight/fixtures/facts-p620.txt");
/// 2026-11-21, noon.
const NOW_MS: i64 = 1_795_262_400_000;
const HOURS_MS: i64 = 3_600_000;

/// An invented host before it becomes a row.
struct Invented {
    name: &'static str,
    answer: Result<Facts, Refused>,
    wanted: Result<StorePath, Trouble>,
    record: Option<Record>,
    goes_on: bool,
    last: Option<(&'static str, i64)>,
    seen: Option<i64>,
}

fn fleet() -> Fleet {
    let text = "[hosts.p620]\n[hosts.p510]\n[hosts.razer]\noptional = \"skip\"\n[hosts.dex5550]\n\
                [hosts.samsung]\nuser = \"admin\"\n";
    parse(Path::new("/n/hosts.toml"), text).expect("a fleet")
}

fn system(name: &str) -> StorePath {
    let hash = "0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v";
    StorePath::new(format!("/nix/store/{hash}-nixos-system-{name}")).expect("a path")
}

/// The lab's recorded host at generation 12, two hours old, on one system everywhere.
fn facts() -> Facts {
    let text: Vec<&str> = RECORDED.lines().collect();
    let mut facts = answer::parse(&text).0;
    let pointers = &mut facts.early.pointers;
    pointers.running = Some(system("p620"));
    pointers.profile = Some(system("p620"));
    pointers.boot_default = Some(system("p620"));
    pointers.generation = Some(Generation(12));
    let made_s = facts.now_s - 7300;
    facts.generations.push(Kept { generation: Generation(12), made_s, toplevel: system("p620") });
    facts
}

fn invented(name: &'static str, answer: Result<Facts, Refused>) -> Invented {
    let (wanted, last) = (Ok(system("p620")), Some(("changed", 2)));
    Invented { name, answer, wanted, record: None, goes_on: false, last, seen: None }
}

fn with(name: &'static str, change: impl FnOnce(&mut Facts)) -> Invented {
    let mut facts = facts();
    change(&mut facts);
    invented(name, Ok(facts))
}

fn silent(name: &'static str) -> Invented {
    let attempts = vec![format!("{name}: ssh: connect to host {name} port 22: No route to host")];
    let seen = Some(75);
    Invented { seen, ..invented(name, Err(Refused::Unreachable { attempts })) }
}

fn in_transaction(guarded: bool, decision: &str) -> impl FnOnce(&mut Facts) {
    let decision = decision.to_owned();
    move |facts| {
        let (active, sub) = ("active".to_owned(), "running".to_owned());
        if guarded {
            let unit = Unit { active, sub, ..Unit::default() };
            facts.units.insert("nixdeploy-guard.service".to_owned(), unit);
        }
        facts.transactions.push(Transaction {
            name: "7f3a12c0ffee".to_owned(),
            current: true,
            owner: "olaf@desk".to_owned(),
            phase: "observe".to_owned(),
            deadline_s: Some(facts.uptime_s + 78),
            decision,
            since_s: facts.now_s - 42,
            ..Transaction::default()
        });
    }
}

fn record(step: Step) -> Record {
    Record {
        run: "7f3a12".to_owned(),
        tx: "7f3a12c0ffee".to_owned(),
        host: HostName::new("p510").expect("a name"),
        old: system("p620"),
        new: system("new"),
        boot_id: "another".to_owned(),
        step,
        decides_by_ms: None,
    }
}

fn board(hosts: Vec<Invented>, ping: bool) -> Board {
    let fleet = fleet();
    let (mut rows, mut exit) = (Vec::new(), Exit::Done);
    for it in hosts {
        let host = fleet.host(it.name).expect("a host of the fleet");
        let target = Target {
            user: host.user.clone(),
            sudo: host.sudo,
            ..Target::plain(host.address().clone())
        };
        let answer = it.answer.map(|facts| Answered {
            facts,
            oddities: Vec::new(),
            latency_ms: 9,
            target,
            attempts: Vec::new(),
        });
        let drv = StorePath::new(format!("{}.drv", system("p620"))).expect("a path");
        let toplevel = |t| Evaluated { drv, toplevel: Some(t), cached: true, tree: None };
        let wanted = it.wanted.map(toplevel);
        let (run, run_seen) = ("7f3a12".to_owned(), "5e1b0d".to_owned());
        let at = |hours: i64| NOW_MS - hours * HOURS_MS;
        let known = Known {
            host,
            answer: &answer,
            wanted: Some(&wanted).filter(|_| !ping),
            deferred: None,
            record: it.record.as_ref(),
            goes_on: it.goes_on,
            last_deploy: it.last.map(|(result, hours)| LastDeploy {
                run,
                rollback: false,
                result: result.to_owned(),
                at_ms: at(hours),
            }),
            last_seen: it.seen.map(|hours| LastSeen {
                run: run_seen,
                at_ms: at(hours),
                generation: Some(Generation(902)),
            }),
            now_ms: NOW_MS,
        };
        exit = exit::worst([exit, standing::exit(&known)]);
        rows.push(row(&known));
    }
    let flake = Some("/home/olaf/.config/nixos".to_owned()).filter(|_| !ping);
    let command = if ping { "ping-hosts" } else { "status" };
    Board {
        schema: SCHEMA,
        command,
        at_ms: NOW_MS,
        took_ms: 412,
        flake,
        exit: exit as u8,
        hosts: rows,
    }
}

fn status(hosts: Vec<Invented>) -> String {
    let board = board(hosts, false);
    let text = table::status(&board, &Look::plain());
    // A command is to be copied: only that may be longer.
    for line in text.lines().filter(|l| !l.contains("next  ")) {
        assert!(columns_of(line) <= 80 && line.is_ascii(), "{line}");
    }
    format!("{text}exit {}\n", board.exit)
}

fn fail(facts: &mut Facts, names: &[&str]) {
    for name in names {
        let (active, sub) = ("failed".to_owned(), "failed".to_owned());
        facts.units.insert((*name).to_owned(), Unit { active, sub, ..Unit::default() });
    }
}

#[test]
fn a_healthy_fleet_is_a_table_and_a_count() {
    let same = |name| with(name, |_| ());
    let mut behind = same("razer");
    behind.wanted = Ok(system("newer"));
    behind.last = Some(("rolled-back", 300));
    let mut fresh = same("samsung");
    fresh.last = None;
    assert_snapshot!(status(vec![same("p620"), same("p510"), behind, fresh]));
    let behind = |name| {
        let mut behind = same(name);
        behind.wanted = Ok(system("newer"));
        behind
    };
    let two = status(vec![behind("p620"), same("p510"), behind("razer")]);
    assert!(two.contains("3 hosts: all answered; 1 current, 2 differ "), "{two}");
}

#[test]
fn hosts_that_do_not_answer_are_told_with_when_they_did() {
    let mut denied = silent("dex5550");
    let (destination, said) = ("root@dex5550".to_owned(), "Permission denied".to_owned());
    denied.answer = Err(Refused::Denied { destination, said });
    denied.seen = None;
    assert_snapshot!(status(vec![with("p620", |_| ()), silent("razer"), denied]));
    assert!(status(vec![silent("razer")]).ends_with("exit 0\n"), "razer is optional");
    assert!(status(vec![silent("p510")]).ends_with("exit 5\n"));
}

#[test]
fn a_generation_that_waits_for_the_boot_is_staged_and_a_trial_of_an_older_one_is_drift() {
    let against = |switched_s: Option<u64>| {
        let staged = with("p620", |facts| {
            let older = system("older");
            facts.early.pointers.running = Some(older.clone());
            let kept = Kept { generation: Generation(11), made_s: 0, toplevel: older };
            facts.generations.insert(0, kept);
            let made_s = facts.now_s - 7300;
            facts.switched_s = switched_s.map(|s| made_s.saturating_add_signed(s as i64 - 50));
        });
        board(vec![staged], false).hosts.remove(0).vs_flake.map(|a| a.word())
    };
    assert_eq!(against(Some(0)), Some("staged"), "made 50 s after the switch");
    assert_eq!(against(Some(100)), Some("drift"), "switched 50 s after it was made");
    assert_eq!(against(None), Some("drift"), "not told");
}

#[test]
fn drift_names_the_three() {
    let profile = with("p620", |facts| {
        facts.early.pointers.profile = Some(system("older"));
        facts.early.pointers.generation = Some(Generation(11));
        let toplevel = system("older");
        facts.generations.push(Kept { generation: Generation(11), made_s: 0, toplevel });
    });
    let running = with("p510", |f| f.early.pointers.running = Some(system("by-hand")));
    let etc = with("dex5550", |f| f.early.pointers.etc_matches = false);
    let unknown = with("samsung", |f| f.early.pointers.boot_default = None);
    assert_snapshot!(status(vec![profile, running, etc, unknown]));
}

#[test]
fn what_is_wrong_with_a_host_is_named_below() {
    let reboot = with("p620", |facts| {
        facts.early.pointers.booted = Some(system("booted"));
        facts.booted.kernel = "/nix/store/other-linux".to_owned();
        facts.booted.params = "quiet".to_owned();
    });
    let full = with("p510", |facts| {
        let disk = &mut facts.space[2].disk;
        *disk = Disk { free_kib: disk.size_kib / 20, ..disk.clone() };
        fail(facts, &["plex.service", "var-lib-media.mount"]);
    });
    let mute = with("razer", |facts| facts.systemd = false);
    assert_snapshot!(status(vec![reboot, full, mute]));
}

#[test]
fn a_transaction_is_told_with_the_next_command() {
    let alive = with("p620", in_transaction(true, ""));
    let mut ours = with("p510", in_transaction(true, "commit"));
    ours.record = Some(record(Step::Commit));
    let left = with("razer", in_transaction(false, "revert"));
    let mut unheard = with("dex5550", |_| ());
    unheard.record = Some(record(Step::Go));
    let mut gone = silent("samsung");
    gone.record = Some(record(Step::Go));
    assert_snapshot!(status(vec![alive, ours, left, unheard, gone]));
}

#[test]
fn a_run_that_goes_on_here_is_left_to_whoever_runs_it() {
    let held = |goes_on| {
        let record = Some(record(Step::Go));
        status(vec![Invented { record, goes_on, ..with("p510", in_transaction(true, "")) }])
    };
    let text = held(true);
    assert!(text.contains("goes on in another process"), "{text}");
    assert!(!text.contains("nixdeploy resume") && !text.contains("nixdeploy abort"), "{text}");
    assert!(held(false).contains("nixdeploy resume"), "{}", held(false));
}

#[test]
fn an_evaluation_error_hides_nothing_and_is_told_once() {
    let error = BuildError::Evaluation {
        message: "undefined variable 'pkgz'".to_owned(),
        place: Some("modules/web.nix:14:12".to_owned()),
        trace: Vec::new(),
    };
    let broken = |it: Invented| Invented { wanted: Err(not_evaluated(&error)), ..it };
    let hosts = vec![
        broken(with("p620", |f| fail(f, &["plex.service"]))),
        with("p510", |_| ()),
        broken(silent("razer")),
    ];
    assert_snapshot!(status(hosts));
}

#[test]
fn ping_tells_where_and_as_whom() {
    let mut refused = silent("dex5550");
    let (user, said) = ("admin".to_owned(), "sudo: a password is required".to_owned());
    refused.answer = Err(Refused::NoElevation { user, said });
    let admin = with("samsung", |f| f.login.user = "admin".to_owned());
    let board = board(vec![with("p620", |_| ()), admin, silent("razer"), refused], true);
    assert_eq!(board.exit, 5);
    assert_snapshot!(table::ping(&board, &Look::plain()));
}

#[test]
fn the_document_holds_every_figure() {
    let full = with("p510", |f| fail(f, &["plex.service"]));
    let board = board(vec![full, with("p620", in_transaction(true, "")), silent("razer")], false);
    assert_snapshot!(document(&board));
    let each: Vec<serde_json::Value> =
        lines(&board).lines().map(|l| serde_json::from_str(l).expect("an object")).collect();
    assert_eq!(each.len(), 3);
}

#[test]
fn long_names_leave_the_table_eighty_columns_wide() {
    let mut board = board(vec![with("p620", |_| ())], false);
    board.hosts[0].host = HostName::new("a".repeat(40)).expect("a name");
    let text = table::status(&board, &Look::plain());
    assert!(text.lines().all(|l| columns_of(l) <= 80), "{text}");
    assert!(text.contains("changed"), "{text}");
}

#[test]
fn kept_runs_say_when_a_host_was_deployed_and_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    keeping::keep(folder.path(), "7f3a", recorder::mixed());
    let names = ["p620", "p510", "razer", "dex5550"].map(recorder::host);
    let deploys = last_deploys(folder.path(), &names);
    let told: Vec<String> = deploys.iter().map(|(h, d)| format!("{h} {}", d.result)).collect();
    let seen = last_seen(folder.path(), &names);
    let seen = seen.iter().map(|(h, s)| format!("{h} {:?}", s.generation.map(|g| g.0)));
    assert_snapshot!(format!("{}\n{}", told.join("\n"), seen.collect::<Vec<_>>().join("\n")));
}
