//! The n-th call of a deploy fails: `tests/lab/nth` stands before ssh, nix and git of a desk, and
//! here is what tells it when to act, and the judge of what came of it.
//!
//! Nothing of `src/` judges: the machine's truth is what `tests/lab/state` reads, before and after;
//! what our program said of it is its exit code and its JSON document.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::desk::Desk;
use super::last;
use super::machines::{Running, Said, State};
use super::rows::{Then, differences};

/// The stand-in for the three programs.
const WRAPPER: &str = include_str!("../lab/nth");
/// Installs it at a desk, first in PATH there.
const INSTALL: &str = r#"
    cd "/root/desks/$1"; rm -rf nth; mkdir -p nth/bin; printf %s "$2" > nth/nth; chmod +x nth/nth
    for name in ssh nix git; do ln -s ../nth "nth/bin/$name"; done
    printf %s "$3" > nth/other"#;
/// A deploy that has not ended by then is asked to stop, as a person would.
const PATIENCE: Duration = Duration::from_secs(60);
/// By then every guard of these budgets has decided.
const DECIDED: Duration = Duration::from_secs(150);

/// What is deployed while a call fails, and what becomes of it when none does.
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: &'static str,
    /// The configuration; UNIQUE stands for a word of each deploy.
    pub(crate) knob: &'static str,
    /// What is typed before the host.
    pub(crate) args: &'static [&'static str],
    /// The exit code when nothing fails.
    pub(crate) exit: i32,
}

/// One case: a call and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// `KIND#COUNT`; or `state` or `cache`, the folder in which we write.
    pub(crate) call: String,
    /// One of the modes of `tests/lab/nth`; or how full the folder is.
    pub(crate) mode: String,
}

impl Case {
    /// Whether it is about a folder of ours instead of a call.
    fn is_folder(&self) -> bool {
        matches!(self.call.as_str(), "state" | "cache")
    }
}

/// What is true of a machine after a case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Truth {
    /// As before, and no boot loader was installed.
    Untouched,
    /// As before; a boot loader was installed and that was undone.
    Restored,
    /// What was to be deployed, whole.
    New,
    /// None of these.
    Torn(Vec<String>),
}

/// A desk whose programs can be made to fail.
pub(crate) struct Nth {
    desk: Desk,
    count: usize,
}

impl Nth {
    /// At a good machine.
    pub(crate) fn at(desk: Desk) -> Self {
        let _ = desk.good();
        let other = if desk.host() == "p620" { "p510" } else { "p620" };
        let _ = desk.deployer(INSTALL, &[desk.host(), WRAPPER, other]);
        desk.inventory(
            "soak_s = 0\nactivate_timeout_s = 12\nverify_timeout_s = 12\ncommit_timeout_s = 12",
        );
        Self { desk, count: 0 }
    }

    /// The calls of a deploy in which nothing fails, in the order in which they began. The master
    /// is left from an earlier run, as on most days.
    pub(crate) fn learn(&mut self, scenario: &Scenario) -> Vec<String> {
        self.change(scenario, true);
        self.plan("learn");
        let said = self.desk.run(&[scenario.args, &[self.desk.host()]].concat());
        assert_eq!(said.code, scenario.exit, "{}{}", said.stdout, said.stderr);
        let calls = self.on_deployer("sort -u calls");
        calls.lines().map(str::to_owned).collect()
    }

    /// A configuration that the machine does not have: one that nobody had yet where Nix and git
    /// are to work, else one of two, which are soon evaluated and built.
    fn change(&mut self, scenario: &Scenario, fresh: bool) {
        self.count += 1;
        let word = match fresh {
            true => format!("{}-{}", std::process::id(), self.count),
            false => format!("{}", self.count % 2),
        };
        self.desk.knob(&scenario.knob.replace("UNIQUE", &word));
    }

    fn plan(&self, text: &str) {
        let script = "rm -f calls hit gone; printf %s \"$2\" > plan";
        let script = format!("cd \"/root/desks/$1/nth\"; {script}");
        let _ = self.desk.deployer(&script, &[self.desk.host(), text]);
    }

    fn on_deployer(&self, script: &str) -> String {
        let script = format!("cd \"/root/desks/$1/nth\"; {script}");
        self.desk.deployer(&script, &[self.desk.host()]).stdout
    }

    /// Tries a case; what is wrong with it, if anything is. One that ended before its call came
    /// was no case: many desks build at once on one deployer. It is tried once more.
    pub(crate) fn try_case(&mut self, scenario: &Scenario, case: &Case) -> Vec<String> {
        match self.try_once(scenario, case) {
            (wrong, false) if !wrong.is_empty() => self.try_once(scenario, case).0,
            (wrong, _) => wrong,
        }
    }

    /// What is wrong, and whether the call came.
    fn try_once(&mut self, scenario: &Scenario, case: &Case) -> (Vec<String>, bool) {
        let began = now();
        self.change(scenario, !case.call.starts_with("ssh"));
        let before = self.desk.state();
        self.arm(case);
        let args = [scenario.args, &["--json", self.desk.host()]].concat();
        let (said, stopped) = patient(self.desk.start(&args));
        let took = began.elapsed();
        let hit = self.disarm(case);
        let (settling, after) = (now(), self.settled());
        let settling = settling.elapsed().as_secs_f32();
        let truth = self.truth(&before, &after);
        let mut wrong = judge(&said, &truth, &after);
        // Facts of another time or another host: somebody else must have changed it, or it is not
        // back. Who asks nothing but the host itself cannot know better.
        let lied = ["stale", "other"].contains(&&*case.mode) && case.call.starts_with("ssh-facts");
        if lied && [9, 10].contains(&said.code) && truth == Truth::Untouched {
            wrong.clear();
        }
        if !hit && said.code != scenario.exit {
            wrong.push("no call failed".to_owned());
        }
        if !wrong.is_empty() || said.code != 0 {
            wrong.extend(self.recover(scenario, &said, &before));
        }
        self.restore(case);
        let end = if wrong.is_empty() { "ok" } else { "WRONG" };
        let name = format!("{} {} {}", scenario.name, case.call, case.mode);
        let came = if hit { "" } else { " (the call did not come)" };
        let stopped = if stopped { " after Ctrl-C" } else { "" };
        let (host, took) = (self.desk.host(), took.as_secs());
        show(&format!(
            "{end:5} {name:36} exit {}{stopped}, {}, {took} s and {settling:.0} s, {host}{came}",
            said.code,
            word(&truth)
        ));
        if !wrong.is_empty() {
            wrong.push(told(&said));
        }
        (wrong, hit)
    }

    /// From here on the call of the case fails; or the folder of the case is nearly full: it takes
    /// so many files (`files.N`) or pages (`pages.N`) more, or none (`ro`).
    fn arm(&self, case: &Case) {
        if !case.is_folder() {
            return self.plan(&format!("{} {}", case.call, case.mode));
        }
        let limit = match case.mode.split_once('.') {
            Some(("files", n)) => format!("nr_inodes={n}"),
            Some(("pages", n)) => format!("size={}k", 4 * n.parse::<u32>().expect("a number")),
            _ => case.mode.clone(),
        };
        let script = "cd \"/root/desks/$1\"; mkdir -p \"$2\"; mount -t tmpfs -o \"$3\" none \"$2\"";
        let _ = self.desk.deployer(script, &[self.desk.host(), &case.call, &limit]);
    }

    /// Whether it came to that.
    fn disarm(&self, case: &Case) -> bool {
        if !case.is_folder() {
            let hit = self.on_deployer("[ ! -e hit ] || echo hit").contains("hit");
            self.plan("");
            return hit;
        }
        let script = "cd \"/root/desks/$1\"; \
            mount -o remount,rw,size=64m,nr_inodes=10000 none \"$2\"";
        let _ = self.desk.deployer(script, &[self.desk.host(), &case.call]);
        true
    }

    /// The folder is as it was before the case.
    fn restore(&self, case: &Case) {
        if case.is_folder() {
            let script =
                "cd \"/root/desks/$1\"; umount -l \"$2\"; [ \"$2\" != cache ] || rmdir cache";
            let _ = self.desk.deployer(script, &[self.desk.host(), &case.call]);
        }
    }

    /// The machine when its guard is gone.
    fn settled(&self) -> State {
        let host = self.desk.host();
        self.desk.lab().wait_for(host, "the guard to be gone", DECIDED, |state| {
            matches!(state.get("guard"), "absent" | "inactive")
        })
    }

    fn truth(&self, before: &State, after: &State) -> Truth {
        let untouched = differences(Then::AsBefore, before, after);
        if untouched.is_empty() {
            return Truth::Untouched;
        }
        if differences(Then::Undone, before, after).is_empty() {
            return Truth::Restored;
        }
        let mut torn = differences(Then::New, before, after);
        if after.get("running") != self.wanted() {
            torn.push("what runs is not what was to be deployed".to_owned());
        }
        if torn.is_empty() { Truth::New } else { Truth::Torn([untouched, torn].concat()) }
    }

    /// What the flake says that the machine should be, by Nix itself.
    fn wanted(&self) -> String {
        let script = "nix --extra-experimental-features 'nix-command flakes' eval --raw \
            \"../flake#nixosConfigurations.$1.config.system.build.toplevel\"";
        self.on_deployer(script).trim().to_owned()
    }

    /// What is typed next leads to a right end, whatever was said before.
    fn recover(&mut self, scenario: &Scenario, said: &Said, before: &State) -> Vec<String> {
        let mut wrong = Vec::new();
        let open = document(said).is_some_and(|d| {
            matches!(d["hosts"][0]["result"].as_str(), Some("unknown" | "interrupted"))
        });
        if open {
            let resumed = self.desk.run(&["resume", "--json"]);
            let after = self.settled();
            let truth = self.truth(before, &after);
            let bad = judge(&resumed, &truth, &after);
            if !bad.is_empty() {
                wrong.push(format!("resume: {}\n{}", bad.join("; "), told(&resumed)));
            }
        }
        if scenario.exit != 0 {
            self.desk.knob("");
        }
        let next = self.desk.run(&["quick-deploy", "--json", self.desk.host()]);
        let state = self.settled();
        let wanted = self.wanted();
        if next.code != 0 || !state.is_all(&wanted) || !state.get("units_failed").is_empty() {
            let told = told(&next);
            wrong.push(format!("the next deploy: {}, {:?}\n{told}", next.code, state.pointers()));
            self.desk.factory();
            let again = self.desk.run(&["quick-deploy", self.desk.host()]);
            assert_eq!(again.code, 0, "no good state\n{}{}", again.stdout, again.stderr);
        }
        wrong
    }
}

#[expect(clippy::print_stdout, reason = "with --nocapture each case is a line")]
fn show(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "shown beside each case, never asserted")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for the end; whoever waits too long presses Ctrl-C, and once more: a host that is gone
/// for good would be waited for until its guard has decided.
fn patient(running: Running) -> (Said, bool) {
    let (mut since, mut stopped) = (now(), 0);
    while !running.is_over() {
        if since.elapsed() > PATIENCE && stopped < 2 {
            running.signal("INT");
            (since, stopped) = (now(), stopped + 1);
        }
        last(Duration::from_millis(50));
    }
    (running.end(), stopped > 0)
}

fn word(truth: &Truth) -> &'static str {
    match truth {
        Truth::Untouched => "untouched",
        Truth::Restored => "restored",
        Truth::New => "new",
        Truth::Torn(_) => "TORN",
    }
}

/// The document of the last run: a `resume` that goes on prints that of each.
fn document(said: &Said) -> Option<Value> {
    let documents = serde_json::Deserializer::from_str(&said.stdout).into_iter();
    documents.collect::<Result<Vec<Value>, _>>().ok()?.pop()
}

fn told(said: &Said) -> String {
    let document = document(said).unwrap_or_default();
    let host = &document["hosts"][0];
    let short = serde_json::json!({
        "result": host["result"], "note": host["note"], "causes": host["causes"],
        "after": host["after"], "next": host["next"],
    });
    format!("exit {}\n{short:#}\n{}", said.code, said.stderr)
}

/// What a document says of its host does not agree with the machine.
fn judge(said: &Said, truth: &Truth, after: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(document) = document(said) else {
        return vec![format!("no document, exit {}: {truth:?}", said.code)];
    };
    let host = &document["hosts"][0];
    let result = host["result"].as_str().unwrap_or_default();
    if host["exit"] != said.code && said.code != 130 {
        wrong.push(format!("exit {} but the document says {}", said.code, host["exit"]));
    }
    let fits = match (truth, result) {
        (Truth::Torn(_), _) => false,
        (_, "unknown") => true,
        (Truth::New, "changed") => true,
        (Truth::Untouched | Truth::Restored, "rolled-back" | "interrupted") => true,
        (Truth::Untouched, "refused" | "unreachable" | "not-built" | "blocked" | "internal") => {
            true
        }
        _ => false,
    };
    if !fits {
        wrong.push(format!("said {result}, but it is {truth:?}"));
    }
    for (said, read) in
        [("running", "running"), ("profile", "profile"), ("boot_default", "boot_default")]
    {
        if let Some(path) = host["after"][said].as_str()
            && path != after.get(read)
        {
            wrong.push(format!("said {said} is {path}, but it is {}", after.get(read)));
        }
    }
    wrong
}
