//! The machine itself as a target: the run goes on without the terminal it was started at.
//!
//! An activation may end the display manager, the terminal, or whatever else this program was
//! started in, and us with it; then nobody would say `commit`. So the run is done by ourselves as a
//! transient unit of systemd's, which no activation touches, and the process at the terminal only
//! watches: it draws the run from the log that the unit writes, hands on a Ctrl-C, and may die. A
//! SIGTERM is no Ctrl-C: systemd sends it to a terminal that the activation stops.
//! `nixdeploy status` and `report` find the run whatever became of whoever watched.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::launch;
use crate::cli::Global;
use crate::error::Error;
use crate::event::state::RunState;
use crate::event::stream::Stopwatch;
use crate::event::{Event, Stamped, harmless};
use crate::exit::{self, Exit};
use crate::fleet::{Address, Fleet, HostName, Sudo};
use crate::plan::{Goal, Request};
use crate::preflight::read;
use crate::report::{self, store};
use crate::world::environment::{RUN, program, variables};
use crate::world::password::password;
use crate::world::signals::Signals;
use crate::world::ssh::{Link, Target};
use crate::world::{Output, World, files, here};

/// Between two looks at the log.
const PACE: Duration = Duration::from_millis(100);
/// Looks at the log between two at the unit.
const LOOKS: u32 = 10;
/// systemd answers sooner.
const QUICK: Duration = Duration::from_secs(60);
/// What the unit is given of our environment: what it needs to be the same program for the same
/// person. Properties of a unit can be read by all, so nothing that may hold a secret.
const HANDED_ON: [&str; 17] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSL_CERT_FILE",
    "NO_COLOR",
    "PATH",
    "SSH_AUTH_SOCK",
    "TERM",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// Whether the machine that we run on would be switched under us.
pub(super) fn wanted(world: &World, fleet: &Fleet, hosts: &[HostName], request: &Request) -> bool {
    let switches = matches!(request.goal, Goal::Deploy | Goal::Rollback { .. });
    switches && world.environment.run.is_none() && !here(world, fleet, hosts).is_empty()
}

/// Which of these hosts are the machine that we run on.
pub(super) fn here(world: &World, fleet: &Fleet, hosts: &[HostName]) -> Vec<HostName> {
    let here = |name: &&HostName| {
        let host = fleet.host(name.as_str());
        host.is_some_and(|h| read::targets(h, world).iter().any(|t| t.here))
    };
    hosts.iter().filter(here).cloned().collect()
}

/// The question that the unit cannot ask, after what there is to know before the answer.
///
/// # Errors
/// When the answer is no, or what would change could not be found out.
pub(super) async fn ask(
    world: &World,
    global: &Global,
    fleet: &Fleet,
    hosts: &[HostName],
    request: &Request,
) -> Result<(), Error> {
    if !request.ask || request.yes || !world.prompt.allowed() {
        return Ok(());
    }
    let look = Request { goal: Goal::DryRun, ask: false, ..request.clone() };
    let told = Box::pin(launch::launch(world, global, fleet.clone(), hosts, look, false)).await?;
    if told != Exit::Done {
        return Err(Error::new(told, "nothing was deployed").hint("nixdeploy report"));
    }
    let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    let question = format!("Deploy to {}?", names.join(", "));
    let prompt = world.prompt.clone();
    let answer = tokio::task::spawn_blocking(move || prompt.confirm(&question, true)).await;
    match answer.ok().flatten() {
        Some(true) => Ok(()),
        _ => {
            let diff = format!("nixdeploy diff {}", names.join(" "));
            Err(Error::new(Exit::Declined, "the answer was no").hint(diff))
        }
    }
}

/// Does the run as a unit, and watches it to its end.
///
/// # Errors
/// When the unit could not be started, or ended without a last word.
pub(super) async fn run(
    world: &World,
    global: &Global,
    detailed: bool,
    name: Option<String>,
) -> Result<(Exit, RunState), Error> {
    let name = name.unwrap_or_else(|| launch::name(world));
    let unit = format!("nixdeploy-run-{name}.service");
    let target = start(world, &unit, &name).await?;
    report::err(&format!("this machine is deployed by {unit}: it goes on without this terminal\n"));
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let clock: Arc<dyn Stopwatch> = Arc::new(world.clock);
    let sinks = report::choice::watchers(&launch::setting(global), &world.environment);
    let screens = tokio::spawn(report::drain(events, sinks, clock));
    let mut log = Log::new(store::log_of(&world.environment.state, &name));
    let watched = watch(world, &target, &unit, &mut log, |stamped| {
        let _ = sender.send(stamped);
    });
    let left = watched.await?;
    drop(sender);
    let state = screens.await.unwrap_or_default();
    match (state.finished, left) {
        (true, _) => Ok((exit::of_run(&state, detailed), state)),
        (false, true) => Ok((Exit::Unknown, state)),
        (false, false) => Err(silent(world, &unit).await),
    }
}

/// Until the run's last word, or until nobody is left to say it; true: we were sent away.
async fn watch(
    world: &World,
    target: &Target,
    unit: &str,
    log: &mut Log,
    mut tell: impl FnMut(Stamped),
) -> Result<bool, Error> {
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let (mut looks, mut ended) = (0, false);
    loop {
        if log.read(&mut tell) || ended {
            return Ok(false);
        }
        tokio::select! {
            signal = signals.next() => {
                if signal != "SIGINT" {
                    return Ok(true); // the terminal goes, the unit does not
                }
                let kill = ["systemctl", "kill", "--kill-whom=main", "--signal=INT", unit];
                let _ = world.run(target.remote(Link::Shared, &kill).timeout(QUICK)).await;
            }
            () = world.clock.sleep(PACE) => looks += 1,
        }
        if looks >= LOOKS {
            looks = 0;
            let state = ["systemctl", "show", "--property=ActiveState", "--value", unit];
            let state = target.command(Link::Shared, &state.join(" ")).timeout(QUICK);
            let state = world.run(state).await.map(|o| o.out).unwrap_or_default();
            ended = state.first().is_some_and(|s| s == "inactive" || s == "failed");
        }
    }
}

/// Starts ourselves as the unit; gives the way to talk to systemd.
async fn start(world: &World, unit: &str, name: &str) -> Result<Target, Error> {
    let failed = |why: String| {
        Error::new(Exit::Refused, format!("cannot start {unit}: this machine is unchanged"))
            .because(harmless::line(&why))
            .hint("sudo -n true")
    };
    let address = Address::new("localhost").map_err(|e| failed(e.to_string()))?;
    let sudo = here::sudo(Sudo::Auto);
    let mut target = Target { here: true, sudo, ..Target::plain(address) };
    let words = words(world, &target, unit, name).map_err(|e| failed(e.to_string()))?;
    let mut output = begin(world, &target, &words).await.map_err(failed)?;
    if output.err.iter().any(|l| l.contains("a password is required")) {
        let given = password(&world.prompt, "this machine").await;
        let given = given.map_err(|e| failed(e.to_string()))?;
        let pipe = world.environment.sockets.join(format!("{name}.sudo"));
        files::pipe(&pipe, given.clone()).map_err(|e| failed(e.to_string()))?;
        target.password = Some(given);
        let file = ["--sudo-password-file".to_owned(), pipe.display().to_string()];
        output = begin(world, &target, &[words, file.to_vec()].concat()).await.map_err(failed)?;
    }
    match output.ended.ok() {
        true => Ok(target),
        false => Err(failed(output.err_tail(3))),
    }
}

async fn begin(world: &World, target: &Target, words: &[String]) -> Result<Output, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let start = target.remote(Link::Shared, &words).timeout(QUICK);
    world.run(start).await.map_err(|e| e.to_string())
}

fn words(world: &World, target: &Target, unit: &str, name: &str) -> std::io::Result<Vec<String>> {
    let mut words: Vec<String> =
        ["systemd-run", "--quiet", "--collect", "--service-type=exec"].map(str::to_owned).to_vec();
    words.extend([
        format!("--unit={unit}"),
        format!("--description=nixdeploy run {name}"),
        "--property=IgnoreOnIsolate=yes".to_owned(),
        "--property=KillMode=mixed".to_owned(),
        format!("--working-directory={}", world.environment.folder.display()),
        format!("--setenv={RUN}={name}"),
    ]);
    for (key, value) in variables(|name| HANDED_ON.contains(&name)) {
        words.push(format!("--setenv={key}={}", value.to_string_lossy()));
    }
    if target.elevates() {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        words.push(format!("--uid={}", uid.as_raw()));
        words.push(format!("--gid={}", gid.as_raw()));
    }
    words.extend(["--".to_owned(), program()?.display().to_string()]);
    words.extend(world.environment.arguments.iter().cloned());
    Ok(words)
}

/// A unit that ended without a last word, with what it said.
async fn silent(world: &World, unit: &str) -> Error {
    let journal = ["--unit", unit, "--lines=20", "--output=cat", "--no-pager", "--quiet"];
    let journal = crate::world::Invocation::new("journalctl", journal).timeout(QUICK);
    let said = world.run(journal).await.map(|o| o.out).unwrap_or_default();
    let error = Error::new(Exit::Internal, format!("{unit} ended without a last word"));
    let error = error.hint("nixdeploy status").hint(format!("journalctl -u {unit}"));
    said.iter().fold(error, |error, line| error.because(harmless::line(line)))
}

/// The log of a run that is being written.
struct Log {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self { path, at: 0, rest: Vec::new() }
    }

    /// Hands on what was written since; true when it was the run's last word.
    fn read(&mut self, tell: &mut impl FnMut(Stamped)) -> bool {
        let Ok(mut file) = File::open(&self.path) else { return false };
        let mut new = Vec::new();
        if file.seek(SeekFrom::Start(self.at)).is_err() || file.read_to_end(&mut new).is_err() {
            return false;
        }
        self.at += new.len() as u64;
        self.rest.extend(new);
        let mut last = false;
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Ok(stamped) = serde_json::from_slice::<Stamped>(&line) {
                last |= matches!(stamped.event, Event::RunFinished { .. });
                tell(stamped);
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_grows() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        let event = |n: u64| {
            let event = Event::RunFinished { took_ms: n };
            let stamped = Stamped { index: n, at_ms: 0, elapsed_ms: 0, event };
            serde_json::to_string(&stamped).expect("JSON") + "\n"
        };
        let (mut log, mut seen) = (Log::new(path.clone()), Vec::new());
        assert!(!log.read(&mut |s| seen.push(s.index)), "there is none yet");
        let text = event(0) + &event(1);
        std::fs::write(&path, &text[..text.len() - 5]).expect("written");
        assert!(log.read(&mut |s| seen.push(s.index)));
        assert_eq!(seen, [0], "half a line is none");
        std::fs::write(&path, &text).expect("written");
        assert!(log.read(&mut |s| seen.push(s.index)));
        assert_eq!(seen, [0, 1]);
    }
}
