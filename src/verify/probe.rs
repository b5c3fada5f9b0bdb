//! Health checks of hosts.toml: what is sent to the host, what comes back, what runs here, and
//! what their results mean against those before the activation.
//!
//! Commands and scripts run on the host in a transient unit (`probes.sh`); `http` and `tcp` from
//! the deployer run here, since they ask whether the service can be reached from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::finding;
use super::script::{self, Scripts};
use super::units::full_name;
use crate::event::harmless;
use crate::fleet::{Address, Check, From, Probe};
use crate::plan::{Finding, Severity};
use crate::world::{Ended, Invocation, World};

/// Health checks of one host, at most.
pub(super) const PROBES: usize = 64;
/// Lines of output kept of each.
const SAID: usize = 200;

/// What one health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// "script checks/web.sh".
    pub label: String,
    /// What it found.
    pub state: ProbeState,
    /// What it printed, harmless.
    pub said: Vec<String>,
}

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeState {
    /// All is well.
    Healthy,
    /// It is not, and why.
    Failed(String),
    /// It could not be run, and why.
    Unknown(String),
}

/// Answers of the host, by the position of the check.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<usize, Answer>);

#[derive(Debug, Default)]
struct Answer {
    ending: String,
    said: Vec<String>,
}

impl Answers {
    /// Takes in a line of the answer; false when it is none of ours.
    pub(super) fn take(&mut self, key: &str, value: &str) -> bool {
        let (at, text) = value.split_once(' ').unwrap_or((value, ""));
        let Some(at) = at.parse().ok().filter(|at| *at < PROBES) else { return false };
        match key {
            "probe" => self.0.entry(at).or_default().ending = harmless::line(text),
            "said" => {
                let said = &mut self.0.entry(at).or_default().said;
                if !text.trim().is_empty() && said.len() < SAID {
                    said.push(harmless::line(text));
                }
            }
            _ => return false,
        }
        true
    }

    /// What the host found for the check at this position.
    pub(super) fn result(&self, at: usize, probe: &Probe) -> ProbeResult {
        let label = label(&probe.check);
        let Some(answer) = self.0.get(&at) else {
            let state = ProbeState::Unknown("the host did not answer".to_owned());
            return ProbeResult { label, state, said: Vec::new() };
        };
        let said = answer.said.clone();
        let state = match ending(&answer.ending, probe.timeout_s) {
            Ok(()) => ProbeState::Healthy,
            Err(ProbeState::Failed(why)) => {
                ProbeState::Failed(script::why(&probe.check, &said, why))
            }
            Err(other) => other,
        };
        ProbeResult { label, state, said }
    }
}

/// `RESULT CODE STATUS` as systemd gives them to ExecStopPost (systemd.exec(5)), or `unavailable`.
fn ending(words: &str, timeout_s: u32) -> Result<(), ProbeState> {
    let failed = |why: String| Err(ProbeState::Failed(why));
    match words.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
        ["timeout", "exited", "0"] => {
            failed(format!("what it started did not end within {timeout_s} s"))
        }
        ["timeout", ..] => failed(format!("no result within {timeout_s} s")),
        ["success" | "done", "exited", "0"] => Ok(()),
        [_, "exited", "203"] => failed("cannot be executed: is its first line right?".to_owned()),
        [_, "exited", status] => failed(format!("exit status {status}")),
        [_, "killed" | "dumped", "XFSZ"] => failed("printed or wrote more than 8 MiB".to_owned()),
        [_, "killed" | "dumped", signal] => failed(format!("killed by signal {signal}")),
        ["unavailable", ..] => {
            let why = words.strip_prefix("unavailable").unwrap_or_default().trim();
            Err(ProbeState::Unknown(why.to_owned()))
        }
        _ => Err(ProbeState::Unknown("its end was not understood".to_owned())),
    }
}

/// Its name on the screen; a URL without credentials and query, which may hold secrets.
pub fn label(check: &Check) -> String {
    let text = match check {
        Check::Script(path) => format!("script {}", path.display()),
        Check::Unit(name) => format!("unit {}", full_name(name)),
        Check::Command(text) => format!("command {text}"),
        Check::Journal(pattern) => format!("journal {pattern}"),
        Check::Dns(name) => format!("dns {name}"),
        Check::Http(url) => format!("http {}", bare_url(url)),
        Check::Tcp(place) => format!("tcp {place}"),
    };
    harmless::line(&text)
}

fn bare_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, path) = rest.split_once('/').map_or((rest, ""), |(p, q)| (p, q));
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}/{path}")
}

/// A check that runs on the host: its kind there, and its text.
pub(super) struct Sent {
    at: usize,
    kind: &'static str,
    timeout_s: u32,
    text: String,
}

impl Sent {
    /// As the script reads it.
    pub(super) fn message(&self) -> String {
        let Self { at, kind, timeout_s, text } = self;
        format!("probe {at} {kind} {timeout_s} {}\n{text}", text.len())
    }
}

/// Which checks go to the host; those that cannot be are answered at once.
pub(super) fn plan(
    probes: &[Probe],
    scripts: &Scripts,
) -> (Vec<Sent>, BTreeMap<usize, ProbeState>) {
    let (mut sent, mut answered) = (Vec::new(), BTreeMap::new());
    for (at, probe) in probes.iter().enumerate().take(PROBES) {
        let timeout_s = probe.timeout_s.clamp(1, 3600);
        match on_host(probe, scripts) {
            Some(Ok((kind, text))) => sent.push(Sent { at, kind, timeout_s, text }),
            Some(Err(why)) => drop(answered.insert(at, ProbeState::Unknown(why))),
            None => {}
        }
    }
    (sent, answered)
}

/// Kind and text; `None`: it runs here.
fn on_host(probe: &Probe, scripts: &Scripts) -> Option<Result<(&'static str, String), String>> {
    let here = probe.from == From::Deployer;
    let said = match &probe.check {
        Check::Http(_) | Check::Tcp(_) if here => return None,
        Check::Script(path) => scripts.text(path).map(|text| ("script", text.to_owned())),
        Check::Unit(name) => Ok(("unit", full_name(name))),
        Check::Command(text) => Ok(("command", text.clone())),
        Check::Journal(pattern) => Ok(("journal", pattern.clone())),
        Check::Dns(name) => Address::new(name.as_str())
            .map(|name| ("dns", name.to_string()))
            .map_err(|e| e.to_string()),
        Check::Http(url) => curl_config(url, probe.timeout_s).map(|text| ("http", text)),
        Check::Tcp(place) => split_place(place).map(|_| ("tcp", place.clone())),
    };
    Some(said)
}

/// For curl's standard input or a private file: a URL may hold a password, argv is public.
fn curl_config(url: &str, timeout_s: u32) -> Result<String, String> {
    let scheme = url.starts_with("http://") || url.starts_with("https://");
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    if !scheme || !plain {
        return Err("is no http:// or https:// address of plain characters".to_owned());
    }
    Ok(format!(
        "url = \"{url}\"\nsilent\nshow-error\ngloboff\nmax-time = {timeout_s}\n\
         output = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\"\nproto = \"=http,https\"\nfail\n"
    ))
}

fn split_place(place: &str) -> Result<(String, u16), String> {
    let wrong = || "is not HOST:PORT".to_owned();
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let host = Address::new(host).map_err(|_| wrong())?;
    Ok((host.to_string(), port.parse().map_err(|_| wrong())?))
}

/// Runs the checks that run here, all at once.
pub(super) async fn here(world: &World, probes: &[Probe]) -> BTreeMap<usize, ProbeState> {
    let ours = probes.iter().enumerate().take(PROBES).filter(|(_, p)| p.from == From::Deployer);
    let runs = ours.filter_map(|(at, probe)| match &probe.check {
        Check::Http(url) => Some((at, probe, url, true)),
        Check::Tcp(place) => Some((at, probe, place, false)),
        _ => None,
    });
    let runs = runs.map(|(at, probe, text, is_http)| async move {
        let limit = Duration::from_secs(u64::from(probe.timeout_s.clamp(1, 3600)));
        let state =
            if is_http { http(world, text, limit).await } else { tcp(world, text, limit).await };
        (at, state)
    });
    futures_util::future::join_all(runs).await.into_iter().collect()
}

async fn tcp(world: &World, place: &str, limit: Duration) -> ProbeState {
    let (host, port) = match split_place(place) {
        Ok(place) => place,
        Err(why) => return ProbeState::Unknown(why),
    };
    tokio::select! {
        made = tokio::net::TcpStream::connect((host.as_str(), port)) => match made {
            Ok(_) => ProbeState::Healthy,
            Err(e) => ProbeState::Failed(harmless::line(&e.to_string())),
        },
        () = world.clock.sleep(limit) => {
            ProbeState::Failed(format!("no connection within {} s", limit.as_secs()))
        }
    }
}

async fn http(world: &World, url: &str, limit: Duration) -> ProbeState {
    let seconds = u32::try_from(limit.as_secs()).unwrap_or(3600);
    let config = match curl_config(url, seconds) {
        Ok(config) => config,
        Err(why) => return ProbeState::Unknown(why),
    };
    let invocation = Invocation::new("curl", ["-q", "--config", "-"])
        .stdin(config)
        .timeout(limit + Duration::from_secs(5));
    match world.run(invocation).await {
        Err(e) => ProbeState::Unknown(e.to_string()),
        Ok(output) => match output.ended {
            Ended::Exited(0) => ProbeState::Healthy,
            ended if output.err.is_empty() => ProbeState::Failed(format!("curl: {ended}")),
            _ => ProbeState::Failed(harmless::line(&output.err_tail(1))),
        },
    }
}

/// A required check that worked before condemns; any other failure warns.
pub(super) fn judge(
    probes: &[Probe],
    before: &[ProbeResult],
    after: &[ProbeResult],
) -> Vec<Finding> {
    let pairs = probes.iter().zip(after).enumerate();
    pairs.filter_map(|(at, (probe, now))| one(probe, before.get(at), now)).collect()
}

fn one(probe: &Probe, before: Option<&ProbeResult>, now: &ProbeResult) -> Option<Finding> {
    // The journal is read from the activation on: there is no before.
    let before = before.filter(|_| !matches!(probe.check, Check::Journal(_)));
    let worked = before.is_none_or(|b| b.state == ProbeState::Healthy);
    let condemns = probe.required && worked;
    let severity = if condemns { Severity::Block } else { Severity::Warn };
    let excuse = match before.map(|b| &b.state) {
        Some(ProbeState::Failed(_)) => "; failed before as well",
        Some(ProbeState::Unknown(_)) => "; could not be run before either",
        Some(ProbeState::Healthy) | None => "",
    };
    let message = match &now.state {
        ProbeState::Healthy => return script::contradiction(now),
        ProbeState::Failed(why) => format!("{why}{excuse}"),
        ProbeState::Unknown(why) => format!("could not be run: {why}{excuse}"),
    };
    Some(finding("health", severity, &now.label, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(check: Check) -> Probe {
        Probe { check, required: true, timeout_s: 30, from: From::Target, line: 1 }
    }

    #[test]
    fn answers_of_health_checks_are_read() {
        use ProbeState::{Failed, Unknown};
        let script = || Check::Script("check.sh".into());
        for (ending, said, check, expected) in [
            ("success exited 0", "OK: all", script(), ProbeState::Healthy),
            (
                "exit-code exited 1",
                "FAIL: db\u{1b}[2J",
                script(),
                Failed("exit status 1: FAIL: db\\u{1b}[2J".into()),
            ),
            (
                "timeout killed KILL",
                "start",
                script(),
                Failed("no result within 30 s: start".into()),
            ),
            (
                "timeout exited 0",
                "OK: so far",
                script(),
                Failed("what it started did not end within 30 s: OK: so far".into()),
            ),
            ("signal killed XFSZ", "", script(), Failed("printed or wrote more than 8 MiB".into())),
            (
                "exit-code exited 203",
                "",
                script(),
                Failed("cannot be executed: is its first line right?".into()),
            ),
            ("done exited 3", "failed", Check::Unit("a".into()), Failed("is failed".into())),
            (
                "done exited 1",
                "disk full",
                Check::Journal("full".into()),
                Failed("found: disk full".into()),
            ),
            (
                "unavailable no curl on the host",
                "",
                Check::Http("http://x".into()),
                Unknown("no curl on the host".into()),
            ),
            ("", "", script(), Unknown("its end was not understood".into())),
        ] {
            let mut answers = Answers::default();
            assert!(answers.take("probe", &format!("0 {ending}")));
            assert!(answers.take("said", &format!("0 {said}")));
            assert_eq!(answers.result(0, &check_of(check)).state, expected, "{ending}");
        }
    }

    #[test]
    fn the_name_of_a_health_check_holds_no_password() {
        let url = "https://me:secret@grafana.lan/api/health?token=secret#secret";
        assert_eq!(label(&Check::Http(url.into())), "http https://grafana.lan/api/health");
    }

    #[test]
    fn places_and_addresses_of_the_web_are_checked_before_anybody_sees_them() {
        assert_eq!(split_place("[::1]:443"), Ok(("::1".to_owned(), 443)));
        assert_eq!(split_place("p620.lan:22"), Ok(("p620.lan".to_owned(), 22)));
        for bad in ["p620", "p620:x", "-oX:22", "a b:22", "p620:99999", "$(id):1"] {
            assert!(split_place(bad).is_err(), "{bad}");
        }
        let config = curl_config("https://me:pw@x.lan/a?b=c", 5).expect("an address");
        assert!(config.starts_with("url = \"https://me:pw@x.lan/a?b=c\"\n"));
        for bad in
            ["file:///etc/shadow", "http://x\"\noutput = \"/etc/passwd", "http://a b", "-K x"]
        {
            assert!(curl_config(bad, 5).is_err(), "{bad}");
        }
    }
}
