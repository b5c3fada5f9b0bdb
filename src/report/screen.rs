//! What the live screen shows, as lines: pure, from the fold and the time.
//!
//! One host gets a row per phase; several get a row each, the running and the failed first, and
//! a count of those for which there is no row.

use super::look::{Ink, Look, Mark, bytes, bytes_of, columns_of, count, exact, short, ticking};
use super::words::{self, Tone};
use crate::event::state::{HostState, RunState};
use crate::event::{Phase, PhaseResult};

/// The whole live part, at most `rows` minus four lines for several hosts.
pub fn frame(state: &RunState, look: &Look, now_ms: u64, rows: usize) -> Vec<String> {
    match state.hosts.as_slice() {
        [] => Vec::new(),
        [host] => one(state, host, look, now_ms, true),
        _ => several(state, look, now_ms, rows),
    }
}

/// A head and a row per phase; phases still to come only while it is `live`.
pub fn one(
    state: &RunState,
    host: &HostState,
    look: &Look,
    now_ms: u64,
    live: bool,
) -> Vec<String> {
    let right = format!("run {}  {}", state.run, short(state.worked_ms(0, now_ms)));
    let mut lines = vec![look.edges(&title(state), &right)];
    for phase in phases(state, host) {
        let row = match (host.open.get(&phase), host.ended.get(&phase)) {
            (Some(began), _) if host.report.is_none() => {
                running_row(host, phase, now_ms.saturating_sub(*began), look)
            }
            (_, Some((result, note, took))) => ended_row(phase, result, note, *took, look),
            _ if live => pending_row(phase, look),
            _ => continue,
        };
        lines.push(row);
    }
    lines
}

fn title(state: &RunState) -> String {
    let command = words::typed_line(&state.command);
    match command.strip_prefix("nixdeploy") {
        Some(_) => command,
        None => format!("nixdeploy {command}"),
    }
}

/// The phases of the plan and those that happened anyway, in their order.
fn phases(state: &RunState, host: &HostState) -> Vec<Phase> {
    let plan = state.plan.iter().flat_map(|p| p.hosts());
    let mut phases: Vec<Phase> =
        plan.filter(|p| p.host == host.name).flat_map(|p| p.phases.clone()).collect();
    phases.extend(host.open.keys().chain(host.ended.keys()));
    phases.sort_unstable();
    phases.dedup();
    phases
}

fn running_row(host: &HostState, phase: Phase, for_ms: u64, look: &Look) -> String {
    let text = doing(host, phase, for_ms, look);
    let dots = look.mark(Mark::Cut);
    let row = row(look, look.mark(Mark::Running), phase, dots, &text, &exact(for_ms));
    look.ink(Ink::Bold, &row)
}

fn ended_row(phase: Phase, result: &PhaseResult, note: &str, took: u64, look: &Look) -> String {
    let (mark, ink, text) = match result {
        PhaseResult::Ok => (Mark::Ok, Ink::Good, note),
        PhaseResult::Skipped { because } => (Mark::Skip, Ink::Dim, because.as_str()),
        PhaseResult::Failed { because } => (Mark::Fail, Ink::Bad, because.as_str()),
    };
    let sign = look.mark(mark);
    let line = row(look, " ", phase, sign, text, &exact(took));
    // Only the sign of the state column is coloured, and it stands at a known place.
    let (before, after) = line.split_at(STATE_AT.min(line.len()));
    format!("{before}{}", after.replacen(sign, &look.ink(ink, sign), 1))
}

fn pending_row(phase: Phase, look: &Look) -> String {
    look.ink(Ink::Dim, &row(look, " ", phase, "-", "", ""))
}

/// Where the state column begins, in bytes: everything before it is ASCII in such rows.
const STATE_AT: usize = 12;

fn row(look: &Look, sign: &str, phase: Phase, state: &str, text: &str, time: &str) -> String {
    let room = look.width.saturating_sub(30).max(10);
    let text = look.left(text, room);
    let line = format!("{sign} {:9} {} {text} {time:>9}", phase.word(), look.left(state, 6));
    line.trim_end().to_owned()
}

/// What a phase is doing right now.
fn doing(host: &HostState, phase: Phase, for_ms: u64, look: &Look) -> String {
    match &host.progress {
        Some((what, done, total, unit)) if host.progress_of == Some(phase) => {
            progress(what, (*done, *total), unit, for_ms, look)
        }
        _ => String::new(),
    }
}

fn progress(what: &str, (done, total): (u64, u64), unit: &str, ms: u64, look: &Look) -> String {
    let amount = match (unit, total) {
        ("seconds", 0) | (_, 0) if done == 0 => String::new(),
        ("seconds", 0) => format!("{done} s"),
        ("seconds", _) => match total.saturating_sub(done) {
            left @ 0..120 => format!("{left} s left"),
            left => format!("{} left", ticking(left * 1000)),
        },
        ("bytes", 0) => format!("{}{}", bytes(done), speed(done, ms)),
        ("bytes", _) => {
            let (bar, speed) = (bar(done, total, look), speed(done, ms));
            format!("{bar} {}{speed}", bytes_of(done, total))
        }
        (_, 0) => format!("{done} {unit}"),
        _ => format!("{done}/{total} {unit}"),
    };
    match (what.is_empty(), amount.is_empty()) {
        (true, _) => amount,
        (_, true) => what.to_owned(),
        // The number is what moves: it must not be the part that is cut.
        _ if unit == "builds" || unit == "paths" => format!("{amount}, {what}"),
        _ if unit == "bytes" => format!("{amount}  {what}"),
        _ => format!("{what}: {amount}"),
    }
}

fn speed(done: u64, ms: u64) -> String {
    if ms < 1000 { String::new() } else { format!("  {}/s", bytes(done * 1000 / ms)) }
}

fn bar(done: u64, total: u64, look: &Look) -> String {
    let full = usize::try_from((done.min(total) * 14).checked_div(total).unwrap_or(0)).unwrap_or(0);
    let (on, off) = if look.unicode { ("█", "░") } else { ("#", "-") };
    format!("[{}{}]", on.repeat(full), off.repeat(14 - full))
}

/// A head, the hosts that matter most, and how many were left out.
fn several(state: &RunState, look: &Look, now_ms: u64, rows: usize) -> Vec<String> {
    let mut lines = vec![fleet_head(state, look, now_ms)];
    let room = rows.saturating_sub(6).max(1);
    let mut hosts: Vec<&HostState> = state.hosts.iter().filter(|h| rank(h) < 4).collect();
    hosts.sort_by_key(|h| rank(h));
    for host in hosts.iter().take(room) {
        lines.push(host_row(state, host, look, now_ms));
    }
    let hidden = hosts.get(room..).unwrap_or_default();
    let of = |wanted: &[u8]| hidden.iter().filter(|h| wanted.contains(&rank(h))).count();
    let counts = [(of(&[0, 1]), "running"), (of(&[2]), "failed"), (of(&[3]), "waiting")];
    let done = state.hosts.iter().filter(|h| rank(h) == 4).count();
    let mut parts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("+{n} {w}")).collect();
    if done > 0 {
        parts.push(format!("{done} done"));
    }
    if !parts.is_empty() {
        lines.push(look.ink(Ink::Dim, &look.fit(&format!("  {}", parts.join(", ")), look.width)));
    }
    lines
}

/// Past the point of no return first, then working, failed, waiting, done.
fn rank(host: &HostState) -> u8 {
    match words::tone(host) {
        Tone::Open if host.current.is_some() && host.armed.is_some() => 0,
        Tone::Open if host.current.is_some() => 1,
        Tone::Bad => 2,
        Tone::Open => 3,
        Tone::Good | Tone::Quiet => 4,
    }
}

fn fleet_head(state: &RunState, look: &Look, now_ms: u64) -> String {
    let hosts = count(state.hosts.len(), "host", "hosts");
    let verb = state.command.iter().find(|w| *w != "nixdeploy").cloned().unwrap_or_default();
    let right = format!("run {}  {}", state.run, ticking(state.worked_ms(0, now_ms)));
    let of = |wanted: fn(u8) -> bool| state.hosts.iter().filter(|h| wanted(rank(h))).count();
    let ended = |phase| state.hosts.iter().filter(|h| h.ended.contains_key(&phase)).count();
    let all = state.hosts.len();
    // What matters most comes first: the rest is said where there is room for it.
    let mut parts = vec![format!("{} running", of(|rank| rank < 2))];
    parts.extend(Some(of(|rank| rank == 2)).filter(|n| *n > 0).map(|n| format!("{n} failed")));
    // How much is still to be built says more than for how many hosts it is.
    parts.push(match state.builds {
        (_, 0) => format!("built {}/{all}", ended(Phase::Build)),
        (done, total) => format!("build {done}/{total}"),
    });
    parts.push(format!("eval {}/{all}", ended(Phase::Evaluate)));
    let room = look.width.saturating_sub(columns_of(&right) + 2);
    let mut head = format!("{verb} {hosts}");
    for part in parts {
        if columns_of(&head) + columns_of(&part) + 2 <= room {
            head.push_str(&format!("  {part}"));
        }
    }
    look.edges(&head, &right)
}

fn host_row(state: &RunState, host: &HostState, look: &Look, now_ms: u64) -> String {
    let name = look.left(host.name.as_str(), words::name_width(state));
    match (rank(host), host.current) {
        (0 | 1, Some((phase, began))) => {
            let doing = doing(host, phase, now_ms.saturating_sub(began), look);
            let time = ticking(words::took(state, host, now_ms));
            look.edges(&format!("  {name} {:9} {doing}", phase.word()), &time)
        }
        (2, _) => {
            let word = words::spaced(words::result(host, words::goal(state)));
            let left = format!("  {name} {word:11} {}", words::why(host));
            look.ink(Ink::Bad, &look.edges(&left, &ticking(words::took(state, host, now_ms))))
        }
        _ => {
            let left = format!("  {name} {:9} {}", "waiting", waits_for(state, host));
            look.ink(Ink::Dim, &look.edges(&left, "-"))
        }
    }
}

/// The unfinished host of an earlier wave that this one waits for.
fn waits_for(state: &RunState, host: &HostState) -> String {
    let Some(plan) = &state.plan else { return String::new() };
    let own = plan.waves.iter().position(|w| w.iter().any(|p| p.host == host.name));
    let earlier = plan.waves.iter().take(own.unwrap_or(0));
    let open: Vec<&str> = earlier
        .flatten()
        .filter(|p| state.host(&p.host).is_some_and(|h| h.report.is_none()))
        .map(|p| p.host.as_str())
        .collect();
    match open.as_slice() {
        [] => String::new(),
        [one] => format!("{one} first"),
        [one, rest @ ..] => format!("{one} and {} more first", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_counts_what_is_built_for_all_hosts() {
        let look = Look::plain();
        let mut state = RunState { command: vec!["deploy-all".to_owned()], ..RunState::default() };
        assert!(fleet_head(&state, &look, 1).contains("built 0/0"), "hosts: nothing is counted");
        state.builds = (31, 44);
        let head = fleet_head(&state, &look, 1);
        assert!(head.contains("build 31/44"), "{head}");
    }
}
