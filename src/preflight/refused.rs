//! Why a host is left as it is: the reasons, their words and what to type next.
//!
//! Whatever is in here, one thing is true of the host: nothing on it was changed.

use crate::event::Pointers;
use crate::fleet::{Generation, HostName, StorePath};
use crate::plan::Phase;
use crate::world::invocation::quote;

use super::admission::{Inhibited, Room};

/// Nothing was changed, because of this.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// No address answered; one line per attempt.
    Unreachable {
        /// `ADDRESS: what ssh said`.
        attempts: Vec<String>,
    },
    /// The host's key is not the one recorded, or none is.
    HostKey {
        /// Where.
        address: String,
        /// What ssh said.
        said: String,
    },
    /// None of our keys opens it.
    Denied {
        /// Where, with the user.
        destination: String,
        /// What ssh said.
        said: String,
    },
    /// We are not root there and sudo does not make us root.
    NoElevation {
        /// The user who logged in; empty: not known.
        user: String,
        /// What sudo said; empty: it was not tried.
        said: String,
    },
    /// This machine has no ssh, or cannot start it.
    NoSsh {
        /// What the system said.
        said: String,
    },
    /// It answered, but not as our script does.
    Unreadable {
        /// How the script ended and its last words.
        said: Vec<String>,
    },
    /// Another machine than the one known under this name.
    WrongHost {
        /// The machine-id on record.
        known: String,
        /// The one found; empty: it has none.
        found: String,
        /// The file that holds the record.
        record: String,
    },
    /// The same machine bears another name of the fleet.
    Twin {
        /// That name.
        other: HostName,
    },
    /// There is no running NixOS system.
    NotNixOs {
        /// What is missing.
        what: String,
    },
    /// It cannot run a transaction now.
    Unfit {
        /// Why.
        what: String,
    },
    /// Another deploy holds it.
    Locked {
        /// Whose.
        owner: String,
        /// Its run; empty: not known yet.
        run: String,
        /// Seconds since it began.
        age_s: u64,
        /// How far it is.
        phase: String,
    },
    /// A switch-to-configuration runs by hand.
    SwitchRunning {
        /// Its process.
        pid: u32,
        /// Its command line.
        command: String,
    },
    /// Units declare that there is no way back, and nobody said yes to that.
    NoWayBack {
        /// Each as `UNIT: WHY`.
        units: Vec<String>,
    },
    /// A decided transaction never came to its end.
    Leftover {
        /// Which.
        transaction: String,
        /// What was decided.
        decision: String,
        /// How far it came.
        phase: String,
    },
    /// Running system, profile and boot default are not the same.
    Drift {
        /// The three.
        pointers: Box<Pointers>,
        /// What boots next is only staged: a later generation than the one that runs.
        staged: bool,
        /// The newest generation that is what runs; none is left of a system that runs without.
        runs: Option<Generation>,
    },
    /// A file system is too small for the closure.
    NoSpace {
        /// Where, with the arithmetic.
        room: Room,
    },
    /// The boot loader's file system is too small at the peak of an installation.
    EspTooSmall {
        /// Where, with the arithmetic.
        room: Room,
    },
    /// The old system's entry would be deleted before the new one is written.
    WindowTooSmall {
        /// Generations that are kept.
        limit: u32,
        /// The running system.
        old: StorePath,
    },
    /// The change must not happen under a running system.
    Inhibited {
        /// What differs.
        what: Inhibited,
    },
    /// It cannot be started on trial.
    NoTrial {
        /// Why.
        why: String,
    },
    /// The new system's own check said no.
    CheckFailed {
        /// Its status: `exit 1`, `took longer than 60 s`.
        status: String,
        /// Its last lines.
        lines: Vec<String>,
    },
}

impl Refused {
    /// Stable name, for events and for `Outcome::Refused`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::HostKey { .. } => "host-key",
            Self::Denied { .. } => "denied",
            Self::NoElevation { .. } => "no-elevation",
            Self::NoSsh { .. } => "no-ssh",
            Self::Unreadable { .. } => "unreadable",
            Self::WrongHost { .. } => "wrong-host",
            Self::Twin { .. } => "twin",
            Self::NotNixOs { .. } => "not-nixos",
            Self::Unfit { .. } => "unfit",
            Self::Locked { .. } => "locked",
            Self::SwitchRunning { .. } => "switch-running",
            Self::NoWayBack { .. } => "no-way-back",
            Self::Leftover { .. } => "leftover",
            Self::Drift { .. } => "drift",
            Self::NoSpace { .. } => "no-space",
            Self::EspTooSmall { .. } => "esp-too-small",
            Self::WindowTooSmall { .. } => "window-too-small",
            Self::Inhibited { .. } => "inhibited",
            Self::NoTrial { .. } => "no-trial",
            Self::CheckFailed { .. } => "check-failed",
        }
    }

    /// One lower-case sentence without full stop.
    pub fn sentence(&self) -> String {
        match self {
            Self::Unreachable { attempts } => {
                let times = if attempts.len() == 1 { "attempt" } else { "attempts" };
                format!("unreachable after {} {times}", attempts.len())
            }
            Self::HostKey { address, .. } => format!("the host key of {address} is not trusted"),
            Self::Denied { destination, .. } => format!("{destination} accepts none of our keys"),
            Self::NoElevation { user, .. } if user.is_empty() => "no way to become root".to_owned(),
            Self::NoElevation { user, .. } => format!("{user} cannot become root"),
            Self::NoSsh { .. } => "there is no ssh on this machine".to_owned(),
            Self::Unreadable { .. } => "the host's answer broke off".to_owned(),
            Self::WrongHost { .. } => "another machine answers under this name".to_owned(),
            Self::Twin { other } => format!("it is the machine that {other} is"),
            Self::NotNixOs { what } => format!("no NixOS system to deploy to: {what}"),
            Self::Unfit { what } => format!("not fit for a deploy now: {what}"),
            Self::Locked { owner, run, age_s, phase } => {
                let run = if run.is_empty() { String::new() } else { format!(", run {run}") };
                format!("locked by {owner} for {}{run}, phase {phase}", span(*age_s))
            }
            Self::SwitchRunning { pid, .. } => {
                format!("switch-to-configuration is running already, process {pid}")
            }
            Self::NoWayBack { .. } => "there is no way back from it, by its own word".to_owned(),
            Self::Leftover { transaction, decision, .. } => {
                format!("transaction {transaction} decided to {decision} and never finished")
            }
            Self::Drift { staged: true, pointers, .. } => {
                let which = pointers.generation.map_or("a generation".to_owned(), |g| {
                    format!("generation {g}, another closure,")
                });
                format!("{which} is staged for the next boot and does not run yet")
            }
            Self::Drift { staged: false, .. } => {
                "running system, profile and boot default are not the same".to_owned()
            }
            Self::NoSpace { room } => format!("too little space: {}", room.sentence()),
            Self::EspTooSmall { room } => {
                format!("too little space for the boot loader: {}", room.sentence())
            }
            Self::WindowTooSmall { limit, .. } => format!(
                "the boot loader keeps {limit} generations, so the running one would lose its \
                 entry before the new one is written"
            ),
            Self::Inhibited { .. } => {
                "the change must not happen under a running system".to_owned()
            }
            Self::NoTrial { why } => format!("no trial boot here: {why}"),
            Self::CheckFailed { .. } => "the new system's own check refused it".to_owned(),
        }
    }

    /// What lies behind it, outermost first.
    pub fn causes(&self) -> Vec<String> {
        match self {
            Self::Unreachable { attempts } => once_each(attempts),
            Self::HostKey { said, .. } | Self::Denied { said, .. } => filled([said]),
            Self::NoElevation { said, .. } | Self::NoSsh { said } => filled([said]),
            Self::Unreadable { said } => said.clone(),
            Self::WrongHost { known, found, .. } => {
                let found = if found.is_empty() { "none" } else { found };
                vec![format!("machine-id on record {known}, found {found}")]
            }
            Self::Twin { other } => {
                vec![format!("its machine-id and its boot are those that {other} has")]
            }
            Self::SwitchRunning { command, .. } => filled([command]),
            Self::NoWayBack { units } => units.clone(),
            Self::Leftover { phase, .. } => vec![format!("it stopped in phase {phase}")],
            Self::Drift { pointers, .. } => three(pointers),
            Self::NoSpace { room } | Self::EspTooSmall { room } => room.sums.clone(),
            Self::WindowTooSmall { old, .. } => vec![format!("running: {old}")],
            Self::Inhibited { what } => what.lines(),
            Self::CheckFailed { status, lines } => {
                std::iter::once(status.clone()).chain(lines.iter().cloned()).collect()
            }
            Self::NotNixOs { .. }
            | Self::Unfit { .. }
            | Self::Locked { .. }
            | Self::NoTrial { .. } => Vec::new(),
        }
    }

    /// Commands to type next, most likely first.
    pub fn hints(&self, host: &HostName) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Unreachable { .. } => &["ping HOST", "nixdeploy ping-hosts HOST"],
            Self::HostKey { .. } => &["nixdeploy trust HOST"],
            Self::Denied { .. } => &["ssh-copy-id HOST", "ssh-add -l"],
            Self::NoElevation { user, said } => return elevation(host, user, said),
            Self::NoSsh { .. } => &["# install openssh and open a new shell", "ssh -V"],
            Self::Unreadable { .. } => &["ssh HOST sudo /bin/sh -c 'readlink /run/current-system'"],
            Self::WrongHost { record, .. } => {
                return vec![
                    format!("ssh {host} cat /etc/machine-id"),
                    format!("rm {record}  # if the machine was reinstalled"),
                ];
            }
            Self::Twin { other } => {
                return vec![
                    format!("nixdeploy ping-hosts {host} {other}"),
                    format!("# in hosts.toml: the address of {host}, or of {other}, is wrong"),
                ];
            }
            Self::NotNixOs { .. } => &["ssh HOST readlink /run/current-system"],
            Self::Unfit { .. } => &["nixdeploy status HOST"],
            Self::Locked { run, owner, .. } => return locked(host, run, owner),
            Self::SwitchRunning { .. } => &["nixdeploy status HOST  # until it has ended"],
            Self::NoWayBack { .. } => &["nixdeploy quick-deploy HOST --yes"],
            Self::Leftover { .. } => &[
                "ssh HOST journalctl -t nixdeploy -n 50",
                "nixdeploy quick-deploy HOST  # has its guard end it first",
            ],
            Self::Drift { staged: true, .. } => &[
                "ssh HOST sudo reboot  # applies it",
                "nixdeploy deploy HOST --accept-drift  # replaces it",
            ],
            Self::Drift { staged: false, runs, .. } => return drift(host, *runs),
            Self::NoSpace { .. } => &[
                "ssh HOST nix-store --gc --max-freed 5G  # deletes no generation",
                "ssh HOST nix-env -p /nix/var/nix/profiles/system --list-generations",
            ],
            Self::EspTooSmall { room } => return esp(host, room),
            Self::WindowTooSmall { .. } => {
                &["# raise boot.loader.*.configurationLimit to 3 or more"]
            }
            Self::Inhibited { .. } => &["nixdeploy deploy HOST --boot"],
            Self::NoTrial { .. } => &["nixdeploy deploy HOST  # without --trial-boot"],
            Self::CheckFailed { .. } => &["nixdeploy logs HOST"],
        };
        lines.iter().map(|l| l.replace("HOST", host.as_str())).collect()
    }

    /// The phase in which it is found.
    pub fn phase(&self) -> Phase {
        match self {
            Self::NoSpace { .. }
            | Self::EspTooSmall { .. }
            | Self::WindowTooSmall { .. }
            | Self::Inhibited { .. }
            | Self::CheckFailed { .. }
            | Self::NoTrial { .. }
            | Self::NoWayBack { .. } => Phase::Admit,
            Self::Unreachable { .. }
            | Self::HostKey { .. }
            | Self::Denied { .. }
            | Self::NoElevation { .. }
            | Self::NoSsh { .. }
            | Self::Unreadable { .. }
            | Self::WrongHost { .. }
            | Self::Twin { .. }
            | Self::NotNixOs { .. }
            | Self::Unfit { .. }
            | Self::Locked { .. }
            | Self::SwitchRunning { .. }
            | Self::Leftover { .. }
            | Self::Drift { .. } => Phase::Facts,
        }
    }

    /// Whether the host may just be off: what `optional` in hosts.toml is about.
    pub fn unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// What was said several times is told once, with how often.
fn once_each(attempts: &[String]) -> Vec<String> {
    let mut told: Vec<(&String, usize)> = Vec::new();
    for attempt in attempts {
        match told.iter_mut().find(|(text, _)| *text == attempt) {
            Some((_, times)) => *times += 1,
            None => told.push((attempt, 1)),
        }
    }
    let line = |(text, times): (&String, usize)| match times {
        1 => text.clone(),
        times => format!("{text} ({times} times)"),
    };
    told.into_iter().map(line).collect()
}

fn filled<const N: usize>(texts: [&String; N]) -> Vec<String> {
    texts.into_iter().filter(|t| !t.is_empty()).cloned().collect()
}

fn locked(host: &HostName, run: &str, owner: &str) -> Vec<String> {
    let mut hints = vec![format!("nixdeploy status {host}  # when it is over: the same again")];
    if !run.is_empty() {
        hints.push(format!("nixdeploy resume {run}  # as {owner}, if that run was cut off"));
    }
    hints
}

/// A rule that lets a user run a shell as root is root: it says so instead of pretending less.
fn elevation(host: &HostName, user: &str, said: &str) -> Vec<String> {
    let shown = if user.is_empty() { "USER" } else { user };
    let mut hints = Vec::new();
    if said.contains("password") {
        hints.push("# the same again on a terminal: it asks for the password once".to_owned());
        hints.push("# or give it: --sudo-password-file FILE (or /dev/stdin)".to_owned());
    }
    hints.extend([
        format!("# in sudoers (this makes {shown} root): {shown} ALL=(root) NOPASSWD: ALL"),
        "# in the host's configuration: security.sudo.wheelNeedsPassword = false;".to_owned(),
        format!("# in hosts.toml, for {host}: user = \"root\""),
    ]);
    hints
}

/// What runs becomes the one system, or the way back to it.
fn drift(host: &HostName, runs: Option<Generation>) -> Vec<String> {
    let one = |g| format!("nixdeploy rollback {host} --to {g}  # makes what runs the boot default");
    let accept = "--accept-drift  # takes what runs now as the way back";
    let accept = format!("nixdeploy deploy {host} {accept}");
    runs.map(one).into_iter().chain([accept]).collect()
}

fn esp(host: &HostName, room: &Room) -> Vec<String> {
    let first = match room.stale.as_slice() {
        [] => format!("ssh {host} ls -lS {}/EFI/nixos", room.place),
        stale => {
            let quoted: Vec<String> = stale.iter().map(|f| quote(f)).collect();
            format!("ssh {host} sudo rm {}  # no entry names them", quoted.join(" "))
        }
    };
    let lower = "# lower boot.loader.*.configurationLimit, and deploy with --boot once";
    vec![first, lower.to_owned()]
}

fn three(pointers: &Pointers) -> Vec<String> {
    let show = |path: &Option<StorePath>| {
        path.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string)
    };
    vec![
        format!("running:      {}", show(&pointers.running)),
        format!("profile:      {}", show(&pointers.profile)),
        format!("boot default: {}", show(&pointers.boot_default)),
    ]
}

/// "45 s", "12 min", "3 h".
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
