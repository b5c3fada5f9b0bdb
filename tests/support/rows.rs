//! Rows of the fault matrix: what is wrong, what must be said, what must be true of the machine
//! afterwards; and the one runner that tries a row on a machine of the lab.
//!
//! Nothing of `src/` judges: the machine's truth is read by `tests/lab/state`, before and after.

use super::desk::Desk;
use super::machines::{Running, Said, State};

/// What must be true of a machine afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// All as it was, and nothing was written to /boot.
    AsBefore,
    /// All as it was after a boot loader was installed and that was taken back.
    Undone,
    /// All as it was after a power loss.
    Rebooted,
    /// The new system runs and boots, as one generation more, installed exactly once.
    New,
    /// The same, after a power loss.
    NewRebooted,
    /// The old system runs, the new one boots.
    Staged,
    /// The row itself says.
    Own,
}

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// Its name in the fault matrix.
    pub(crate) id: &'static str,
    /// The machine; empty: any.
    pub(crate) host: &'static str,
    /// What is wrong with the new configuration; UNIQUE stands for a word of this run.
    pub(crate) knob: &'static str,
    /// More lines of the host's table in hosts.toml; HOST stands for its name.
    pub(crate) hosts: &'static str,
    /// What is typed; the host's name follows.
    pub(crate) args: &'static [&'static str],
    /// Done with the good machine before the knob is set and its state is read.
    pub(crate) before: fn(&Desk),
    /// Done while our program runs.
    pub(crate) during: fn(&Desk, &Running),
    /// Exit code.
    pub(crate) exit: i32,
    /// Word of the recap; empty: there is none.
    pub(crate) result: &'static str,
    /// What is said, line breaks aside.
    pub(crate) says: &'static [&'static str],
    /// The machine afterwards.
    pub(crate) then: Then,
    /// More to look at, with the state before and what was said.
    pub(crate) after: fn(&Desk, &State, &Said),
}

/// A failed deploy.
pub(crate) const REVERTED: Row = Row {
    id: "",
    host: "",
    knob: "",
    hosts: "",
    args: &["quick-deploy"],
    before: |_| {},
    during: |_, _| {},
    exit: 6,
    result: "rolled-back",
    says: &[],
    then: Then::AsBefore,
    after: |_, _, _| {},
};
/// One that was not begun.
pub(crate) const REFUSED: Row = Row { exit: 5, result: "refused", ..REVERTED };
/// A good one.
pub(crate) const COMMITTED: Row = Row {
    knob: "lab.apps.greeter = { port = 8081; };",
    exit: 0,
    result: "changed",
    then: Then::New,
    ..REVERTED
};

/// The guard is killed while it waits for a commit, and goes on.
pub(crate) const GUARD_KILLED: Row = Row {
    hosts: "soak_s = 8",
    during: |desk, _| {
        desk.until_observing();
        let _ = desk.exec("systemctl kill -s KILL nixdeploy-guard");
    },
    ..COMMITTED
};
/// It is stopped by hand, and goes back.
pub(crate) const GUARD_STOPPED: Row = Row {
    knob: COMMITTED.knob,
    hosts: "soak_s = 15",
    during: |desk, _| {
        desk.until_observing();
        let _ = desk.exec("systemctl stop nixdeploy-guard");
    },
    ..REVERTED
};
/// The commit is killed in the middle of the boot loader's installation.
pub(crate) const COMMIT_KILLED: Row = Row {
    knob: COMMITTED.knob,
    before: |desk| desk.hold_boot_loader("boot-default"),
    during: |desk, _| desk.in_the_commit("systemctl kill -s KILL 'nixdeploy-commit-*'"),
    then: Then::Undone,
    ..REVERTED
};
/// There the guard is, and finds its commit at work.
pub(crate) const GUARD_KILLED_IN_COMMIT: Row = Row {
    before: COMMIT_KILLED.before,
    during: |desk, _| desk.in_the_commit("systemctl kill -s KILL nixdeploy-guard"),
    ..COMMITTED
};

/// One test per row, each named and selected on its own.
macro_rules! rows {
    ($($(#[$note:meta])* $name:ident: $row:expr;)*) => {
        $($(#[$note])* #[test] fn $name() { $crate::support::rows::check(&$row); })*
    };
}
pub(crate) use rows;

/// Tries a row, if there is a lab, and says how long that took.
#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "for --show-output; not judged"
)]
pub(crate) fn check(row: &Row) {
    let desk = if row.host.is_empty() { Desk::any() } else { Desk::of(row.host) };
    let Some(desk) = desk else { return };
    let began = std::time::Instant::now();
    let (before, said, wrong) = tried(row, &desk, &[]);
    let told = format!("{}\n{}{}", row.id, said.stdout, said.stderr);
    assert!(wrong.is_empty(), "{} on {}:\n  {}\n{told}", row.id, desk.host(), wrong.join("\n  "));
    (row.after)(&desk, &before, &said);
    // `--show-output` shows it, of those that pass as well
    println!("{:<28} {:>6.1} s on {}", row.id, began.elapsed().as_secs_f64(), desk.host());
}

/// The same row with a guard that is wrong: it must not come out right.
pub(crate) fn check_weakened(row: &Row, changes: &[(&str, &str)]) {
    let Some(desk) = Desk::any() else { return };
    let (_, said, wrong) = tried(row, &desk, changes);
    assert!(!said.stderr.contains("the guard has"), "{}", said.stderr);
    assert!(!wrong.is_empty(), "{}: a wrong guard passes\n{}{}", row.id, said.stdout, said.stderr);
    desk.spoil();
}

/// Deploys once on a good machine; the state before, what was said, and all that is not as wanted.
pub(crate) fn tried(
    row: &Row,
    desk: &Desk,
    changes: &[(&str, &str)],
) -> (State, Said, Vec<String>) {
    let _ = desk.good();
    if !changes.is_empty() {
        desk.change_guard(changes);
    }
    (row.before)(desk);
    desk.inventory(row.hosts);
    desk.knob(&row.knob.replace("UNIQUE", &unique()));
    let before = desk.state();
    let running = desk.start(&[row.args, &[desk.host()]].concat());
    (row.during)(desk, &running);
    let said = running.end();
    let wrong = wrong(row, desk, &before, &said);
    (before, said, wrong)
}

/// What no closure of an earlier run has: it is built, and copied, for this row.
pub(crate) fn unique() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    folder.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Everything that is not as the row wants it.
fn wrong(row: &Row, desk: &Desk, before: &State, said: &Said) -> Vec<String> {
    let mut wrong = Vec::new();
    if said.code != row.exit {
        wrong.push(format!("exit code {}, wanted {}", said.code, row.exit));
    }
    let text = flat(said);
    if !row.result.is_empty() && !has_row(said, desk.host(), row.result) {
        wrong.push(format!("the recap does not say {}", row.result));
    }
    let silent = row.says.iter().map(|w| w.replace("HOST", desk.host()));
    wrong.extend(silent.filter(|w| !text.contains(w)).map(|w| format!("not said: {w}")));
    if row.then != Then::Own {
        let after = desk.unguarded();
        wrong.extend(differences(row.then, before, &after));
    }
    wrong
}

/// What was said in one line: reports are wrapped, and quoted lines of a journal begin with a bar.
pub(crate) fn flat(said: &Said) -> String {
    let text = format!("{}\n{}", said.stdout, said.stderr);
    let bare = |line: &str| line.trim().trim_start_matches("| ").to_owned();
    let words: Vec<String> = text.lines().map(bare).collect();
    words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the recap has a row of this host with this result.
pub(crate) fn has_row(said: &Said, host: &str, result: &str) -> bool {
    let fits = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some(host) && words.next() == Some(result)
    };
    said.stdout.lines().chain(said.stderr.lines()).any(fits)
}

/// What is not as it must be.
pub(crate) fn differences(then: Then, before: &State, after: &State) -> Vec<String> {
    let same = |keys: &[&str]| -> Vec<String> {
        let differ = keys.iter().filter(|key| before.get(key) != after.get(key));
        differ.map(|k| format!("{k}: {} became {}", before.get(k), after.get(k))).collect()
    };
    const POINTERS: [&str; 5] =
        ["running", "etc_toplevel", "profile", "generation", "boot_default"];
    const HEALTH: [&str; 4] = ["units_active", "units_failed", "default_route", "nameservers"];
    const REST: [&str; 3] = ["generations", "boot_oneshot", "boot_files"];
    let mut wrong = match then {
        Then::AsBefore => same(&["bootloader_installs", "boot_id", "booted"]),
        Then::Undone => same(&["boot_id"]),
        Then::Rebooted => same(&["bootloader_installs"]),
        Then::New | Then::NewRebooted => renewed(before, after),
        Then::Staged => {
            [same(&["running", "etc_toplevel", "boot_id"]), staged(before, after)].concat()
        }
        Then::Own => Vec::new(),
    };
    if matches!(then, Then::AsBefore | Then::Undone | Then::Rebooted) {
        wrong.extend([same(&POINTERS), same(&HEALTH), same(&REST)].concat());
    }
    wrong.extend(rebooted(then, before, after));
    // After a power loss the next transaction takes them away.
    if !matches!(then, Then::Rebooted | Then::NewRebooted) {
        wrong.extend(stray_roots(before, after));
        wrong.extend(reserves(after));
    }
    wrong
}

fn rebooted(then: Then, before: &State, after: &State) -> Option<String> {
    let wanted = matches!(then, Then::Rebooted | Then::NewRebooted);
    let is = before.get("boot_id") != after.get("boot_id");
    (wanted != is).then(|| format!("rebooted: {is}"))
}

fn one_more(before: &State, after: &State) -> Vec<String> {
    let rose = ["generation", "bootloader_installs"].into_iter();
    let rose = rose.filter(|k| after.number(k) != before.number(k).map(|n| n + 1));
    rose.map(|k| format!("{k}: {} became {}, not one more", before.get(k), after.get(k))).collect()
}

fn renewed(before: &State, after: &State) -> Vec<String> {
    let mut wrong = one_more(before, after);
    let new = after.get("running");
    if new == before.get("running") || !after.is_all(new) {
        wrong.push(format!("not all new: {:?}", after.pointers()));
    }
    if !after.get("units_failed").is_empty() {
        wrong.push(format!("failed: {}", after.get("units_failed")));
    }
    wrong
}

fn staged(before: &State, after: &State) -> Vec<String> {
    let mut wrong = one_more(before, after);
    let new = after.get("boot_default");
    if new == before.get("boot_default") || after.get("profile") != new {
        wrong.push(format!("not staged: {:?}", after.pointers()));
    }
    wrong
}

/// Space that was kept for a way back, after the last word.
fn reserves(after: &State) -> Vec<String> {
    let kept = after.list("run_nixdeploy").into_iter().filter(|f| f.ends_with("/reserve"));
    kept.chain(after.list("reserve")).map(|file| format!("left: {file}")).collect()
}

/// Roots of a transaction that is over hold the system before it, and nothing else.
fn stray_roots(before: &State, after: &State) -> Vec<String> {
    let held = |root: &&str| {
        let to = root.split_once("->").map_or("", |(_, to)| to);
        // What a host has built for us it keeps until the next build.
        let ours = to == before.get("running") || root.starts_with("built/");
        ours || before.list("roots").contains(root)
    };
    let roots = after.list("roots").into_iter();
    roots.filter(|root| !held(root)).map(|root| format!("root left: {root}")).collect()
}
