//! What is said to the guard and what it answers, as types; the parser is total.
//!
//! The guard itself is `guard.sh`; `hold.sh` carries it to the target. Both are constants: data
//! reaches them as quoted words only.

use serde::Deserialize;

use crate::event::{Pointers, harmless};
use crate::fleet::{Generation, StorePath};

/// The script that takes the lock and leaves the guard on the target.
pub const HOLD: &str = concat!(
    "write_guard() { cat > \"$1\" <<'NIXDEPLOY_GUARD'\n",
    include_str!("../commit/bootloader.sh"),
    include_str!("sample.sh"),
    include_str!("signature.sh"),
    include_str!("ladder.sh"),
    include_str!("trial.sh"),
    include_str!("guard.sh"),
    "\nNIXDEPLOY_GUARD\n}\n",
    "write_rehearse() { cat > \"$1\" <<'NIXDEPLOY_REHEARSE'\n",
    include_str!("../preflight/rehearse.sh"),
    "\nNIXDEPLOY_REHEARSE\n}\n",
    include_str!("../commit/bootloader.sh"),
    include_str!("signature.sh"),
    include_str!("hold.sh"),
);

/// Takes away what a trial boot put beside the boot default.
pub const TRIAL_CLEAR: &str = concat!(
    include_str!("../commit/bootloader.sh"),
    include_str!("trial.sh"),
    include_str!("trial_clear.sh"),
);

/// Entries kept of any list that a host sends.
const MOST: usize = 10_000;

/// Name of a transaction: lower-case hexadecimal, made from the run and the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tx(String);

impl Tx {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Option<Self> {
        let ok = (4..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        ok.then(|| Self(name.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The guard's file on the target.
    pub fn guard(&self) -> String {
        format!("/run/nixdeploy/{}/guard", self.0)
    }
}

/// What the guard can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Activate, and follow.
    Go,
    /// Install for the next boot only, and wait for the outcome.
    Stage,
    /// Set right what boots after a commit that was cut off, and wait for the outcome.
    Mend,
    /// Arm, for another engine that switches.
    External,
    /// That engine is done, with its exit status.
    EngineEnded,
    /// Start it once and leave the boot default alone: the host reboots.
    Trial,
    /// Follow an activation that was asked for before.
    Follow,
    /// Set profile and boot default, and wait for the outcome.
    Commit,
    /// Go back, and wait for the outcome.
    Abort,
    /// Wait for the outcome.
    Await,
    /// Stay a while longer.
    Renew,
    /// Tell where it stands.
    Show,
    /// Start the guard's unit, which is gone.
    Start,
}

impl Verb {
    /// The word the script knows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Stage => "stage",
            Self::Mend => "mend",
            Self::External => "external",
            Self::EngineEnded => "engine-ended",
            Self::Trial => "trial",
            Self::Follow => "follow",
            Self::Commit => "commit",
            Self::Abort => "abort",
            Self::Await => "await",
            Self::Renew => "renew",
            Self::Show => "show",
            Self::Start => "start",
        }
    }
}

/// How the activation unit ended (systemd.exec(5), `$SERVICE_RESULT` and `$EXIT_STATUS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActEnd {
    /// switch-to-configuration exited.
    Exited(i32),
    /// Its time was up.
    TimedOut,
    /// It was killed, or could not be started.
    Cut,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// New, and the boot default.
    Committed,
    /// The boot default only.
    Staged,
    /// As before, and proven so.
    Reverted,
    /// Not proven to be as before.
    RevertFailed,
    /// Somebody else changed the host.
    Foreign,
    /// It was never told to go.
    Expired,
    /// It reboots into the new system, once.
    Trial,
}

/// Where a transaction stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Its name.
    pub tx: String,
    /// Who began it.
    pub owner: String,
    /// The guard's word for what it does.
    pub phase: String,
    /// What ran before.
    pub old: Option<StorePath>,
    /// What is to run.
    pub new: Option<StorePath>,
    /// The host's boot.
    pub boot_id: String,
    /// Seconds since that boot.
    pub uptime_s: u64,
    /// When it decides by itself, in seconds since that boot.
    pub deadline_s: Option<u64>,
    /// When the activation was over and it began to wait for a commit, in the same seconds.
    pub observing_s: Option<u64>,
    /// Whether the activation was started.
    pub started: bool,
    /// How the activation ended.
    pub act: Option<ActEnd>,
    /// `commit` or `revert`.
    pub decision: Option<String>,
    /// Why.
    pub reason: String,
    /// Why it would not go.
    pub refused: Option<String>,
    /// Whether its unit is alive.
    pub alive: bool,
    /// The end.
    pub ending: Option<Ending>,
    /// Restarts by systemd when the activation had ended, by unit, as `UNIT N`.
    pub restarts: Vec<String>,
    /// What did not come back: units, pointers, pieces of the network.
    pub missing: Vec<String>,
    /// The last rung of the ladder (`ladder.sh`) that was tried on the way back, from 1.
    pub rung: Option<u8>,
    /// It is about to reboot into the boot default, as nothing else brought the old system back.
    pub rebooting: bool,
    /// Why it did not reboot where that was the last thing to try.
    pub stays: String,
    /// Exit status of what the last rung ran: the old system's switch-to-configuration, or its
    /// activation.
    pub revert_status: Option<i32>,
    /// Whether the boot default was read back.
    pub boot_verified: bool,
    /// Last lines of the commit that was undone, or of the way back that failed.
    pub log: Vec<String>,
    /// Pointers at the end.
    pub after: Pointers,
}

impl Status {
    /// Whether it says where this transaction stands.
    pub fn is_about(&self, tx: &Tx) -> bool {
        self.tx == tx.as_str()
    }

    /// Whether what it read at its end is all this system: profile and boot default, and where it
    /// was activated what runs. A boot default that nobody can tell stands for itself.
    pub fn proves(&self, new: &StorePath) -> bool {
        let is = |p: &Option<StorePath>| p.as_ref() == Some(new);
        let after = &self.after;
        let boot = is(&after.boot_default) || (after.boot_default.is_none() && !self.boot_verified);
        let runs = self.ending != Some(Ending::Committed) || is(&after.running);
        is(&after.profile) && boot && runs
    }

    /// Seconds until it decides by itself.
    pub fn seconds_left(&self) -> u64 {
        self.deadline_s.map_or(0, |d| d.saturating_sub(self.uptime_s))
    }
}

/// One line of the guard's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A line of the activation, with its place in the journal.
    Line {
        /// `__CURSOR` of journalctl's JSON.
        cursor: String,
        /// Its text, harmless.
        text: String,
    },
    /// A `key=value` of the status.
    Fact(String, String),
    /// The last line of a complete answer, with its status.
    End(i32),
    /// Nothing we know.
    Noise,
}

/// A journal field is a string, bytes when it is no UTF-8, or null when it is too long
/// (systemd's Journal Export Formats, "Journal JSON Format").
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE")]
    message: Option<Text>,
    #[serde(rename = "__CURSOR")]
    cursor: String,
}

/// Reads one line.
pub fn read(line: &str) -> Said {
    if line.starts_with('{') {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else { return Said::Noise };
        let text = match entry.message {
            Some(Text::Plain(text)) => text,
            Some(Text::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Text::Other(serde::de::IgnoredAny)) | None => String::new(),
        };
        return Said::Line { cursor: entry.cursor, text: harmless::line(&text) };
    }
    match line.split_once('=') {
        Some(("end", code)) => Said::End(code.parse().unwrap_or(-1)),
        Some((key, value)) => Said::Fact(key.to_owned(), harmless::line(value)),
        None => Said::Noise,
    }
}

impl Status {
    /// Seconds that it waits for a commit, once the activation is over.
    pub fn waited_s(&self) -> Option<u64> {
        self.deadline_s?.checked_sub(self.observing_s?)
    }

    /// Takes in one `key=value`; unknown keys are ignored.
    pub fn learn(&mut self, key: &str, value: &str) {
        match key {
            "tx" => value.clone_into(&mut self.tx),
            "owner" => value.clone_into(&mut self.owner),
            "phase" => value.clone_into(&mut self.phase),
            "old" => self.old = StorePath::new(value).ok(),
            "new" => self.new = StorePath::new(value).ok(),
            "boot_id" => value.clone_into(&mut self.boot_id),
            "uptime" => self.uptime_s = value.parse().unwrap_or(0),
            "deadline" => self.deadline_s = value.parse().ok(),
            "observing" => self.observing_s = value.parse().ok(),
            "started" => self.started = true,
            "act" => self.act = Some(act_end(value)),
            "decision" => self.decision = Some(value.to_owned()).filter(|v| !v.is_empty()),
            "reason" => value.clone_into(&mut self.reason),
            "refused" => self.refused = Some(value.to_owned()),
            "guard" => self.alive = !matches!(value, "inactive" | "failed" | ""),
            _ => self.learn_ending(key, value),
        }
    }

    fn learn_ending(&mut self, key: &str, value: &str) {
        match key {
            "restarts" if self.restarts.len() < MOST => self.restarts.push(value.to_owned()),
            "outcome" => self.ending = ending(value),
            "log" if self.log.len() < MOST => self.log.push(value.to_owned()),
            "missing" if self.missing.len() < MOST => self.missing.push(value.to_owned()),
            "rung" => self.rung = value.parse().ok(),
            "rebooting" => self.rebooting = true,
            "stays" => value.clone_into(&mut self.stays),
            "revert_status" => self.revert_status = value.parse().ok(),
            "boot_default" => self.boot_verified = value == "verified",
            "running" => self.after.running = StorePath::new(value).ok(),
            "profile" => self.after.profile = StorePath::new(value).ok(),
            "link" => self.after.generation = Generation::of_link(value),
            "boot" => self.after.boot_default = StorePath::new(value).ok(),
            _ => {}
        }
    }
}

fn act_end(record: &str) -> ActEnd {
    let field = |name: &str| {
        record.split(' ').find_map(|w| w.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
    };
    match (field("result"), field("code"), field("status").parse()) {
        ("timeout", _, _) => ActEnd::TimedOut,
        (_, "exited", Ok(status)) => ActEnd::Exited(status),
        _ => ActEnd::Cut,
    }
}

fn ending(word: &str) -> Option<Ending> {
    Some(match word {
        "committed" => Ending::Committed,
        "staged" => Ending::Staged,
        "reverted" => Ending::Reverted,
        "revert_failed" => Ending::RevertFailed,
        "foreign" => Ending::Foreign,
        "expired" => Ending::Expired,
        "trial" => Ending::Trial,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(text: &str) -> Status {
        let mut status = Status::default();
        for line in text.lines() {
            if let Said::Fact(key, value) = read(line) {
                status.learn(&key, &value);
            }
        }
        status
    }

    #[test]
    fn an_activation_that_failed_is_read() {
        let read = status(
            "owner=root@deployer\nphase=observe\ndeadline=1930\nstarted=1909\n\
             act=result=exit-code code=exited status=4\ntx=a1b2\nuptime=1910\nguard=active",
        );
        assert_eq!(read.act, Some(ActEnd::Exited(4)));
        assert_eq!(read.seconds_left(), 20);
        assert!(read.alive && read.ending.is_none());
    }

    #[test]
    fn the_guards_own_wait_is_told_from_its_record() {
        let read = status("observing=1910\ndeadline=1922\nreason=no commit before the deadline");
        assert_eq!(read.waited_s(), Some(12));
        assert_eq!(status("deadline=1922").waited_s(), None);
    }

    #[test]
    fn a_revert_names_what_is_missing() {
        let read =
            status("outcome=revert_failed\nreason=x; y\nmissing=a.service\nmissing=b.service");
        assert_eq!(read.ending, Some(Ending::RevertFailed));
        assert_eq!(read.missing, ["a.service", "b.service"]);
    }

    #[test]
    fn a_timeout_is_told_from_an_exit() {
        assert_eq!(act_end("result=timeout code=killed status=TERM"), ActEnd::TimedOut);
        assert_eq!(act_end("result=success code=exited status=0"), ActEnd::Exited(0));
        assert_eq!(act_end("result=signal code=killed status=KILL"), ActEnd::Cut);
        assert_eq!(act_end("result=unstarted code= status="), ActEnd::Cut);
    }

    #[test]
    fn journal_messages_come_in_three_shapes() {
        let text = |json: &str| match read(json) {
            Said::Line { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r#"{"MESSAGE":"hello","__CURSOR":"c"}"#), "hello");
        assert_eq!(text(r#"{"MESSAGE":[104,105],"__CURSOR":"c"}"#), "hi");
        assert_eq!(text(r#"{"MESSAGE":null,"__CURSOR":"c"}"#), "");
        assert!(!text(r#"{"MESSAGE":"\u001b]52;c;x\u0007","__CURSOR":"c"}"#).contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line in ".*") {
            if let Said::Fact(key, value) = read(&line) {
                Status::default().learn(&key, &value);
            }
        }
    }
}
