//! Traces that the guard left, replayed through the model: every effect that a process of the
//! transaction had must be the model's next one, and the last word the same.
//!
//! A trace is the shell's own (`set -x`), with the process and its clock before each command.
//! [`read`] keeps the commands that have an effect, one a line: `PROCESS CLOCK WHO EFFECT`.

use std::collections::BTreeMap;

use super::host::{Activation, Before, End, Files, Loader, Outcome, Request, Scene, Sys, Time};
use super::machine::{At, Budgets, Life, Model, Unit};

/// One effect, or the start of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    process: u32,
    clock: Time,
    who: String,
    what: String,
}

/// What the guard script is changed to, so that it leaves a trace. bash, the shell of NixOS, has a
/// line of it written in one piece, also where two processes are at work.
pub(crate) const TRACED: (&str, &str) = (
    "\nguard_main \"$@\"\n",
    "\n[ -n \"${BASH_VERSION:-}\" ] || exec bash --posix \"$0\" \"$@\"\n\
     exec 9>> /run/guard.trace\nBASH_XTRACEFD=9 PS4='+$$ ${uptime_s:-0} '\nset -x\n\
     guard_main \"$@\"\n",
);

/// The effects in a shell's trace.
pub(crate) fn read(trace: &str) -> Vec<Line> {
    let mut who = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        let mut words = line.trim_start_matches('+').splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (process, clock, command) = (next().parse(), next().parse(), next());
        let (Ok(process), Ok(clock)) = (process, clock) else { continue };
        let role = command.strip_prefix("guard_main ");
        if let Some(role) = role.and_then(|words| words.split(' ').next()) {
            who.insert(process, role.to_owned());
            lines.push(Line { process, clock, who: role.to_owned(), what: "starts".to_owned() });
        } else if let Some(what) = effect(command) {
            let who = who.get(&process).cloned().unwrap_or_default();
            lines.push(Line { process, clock, who, what });
        }
    }
    lines
}

/// The same as text, and back.
pub(crate) fn write(lines: &[Line]) -> String {
    let line = |l: &Line| format!("{} {} {} {}\n", l.process, l.clock, l.who, l.what);
    lines.iter().map(line).collect()
}

pub(crate) fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let process = words.next()?.parse().ok()?;
        let clock = words.next()?.parse().ok()?;
        let who = words.next()?.to_owned();
        Some(Line { process, clock, who, what: words.next()?.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

/// The effect of a command, as the model names it.
fn effect(command: &str) -> Option<String> {
    let has = |words: &[&str]| words.iter().all(|word| command.contains(word));
    let put = command.strip_prefix("put ").and_then(|rest| rest.split_once(' '));
    if let Some((key, value)) = put {
        return match key {
            "deadline" | "started" | "observing" | "made" | "boot_begun" | "refused" | "undone" => {
                Some(format!("put {key}"))
            }
            "step" | "committed" => Some(format!("put {key} {value}")),
            "act" => Some(format!("put act {}", value.trim_matches('\''))),
            _ => key.strip_prefix("req.").map(|request| format!("put req {request}")),
        };
    }
    if let Some(rest) = command.strip_prefix("finish ") {
        return rest.split(' ').next().map(|outcome| format!("put outcome {outcome}"));
    }
    let known: [(&[&str], &str); 13] = [
        (&["ln -s commit "], "link commit"),
        (&["ln -s revert "], "link revert"),
        (&["systemd-run ", "--unit=nixdeploy-act-"], "start act"),
        (&["systemd-run ", "--unit=nixdeploy-commit-"], "start commit"),
        (&["systemctl stop nixdeploy-act-"], "stop act"),
        (&["systemctl stop nixdeploy-commit-"], "stop commit"),
        (&["nix-env -p ", " --set "], "set new"),
        (&["nix-env -p ", " --switch-generation "], "switch back"),
        (&["nix-env -p ", " --delete-generations "], "delete made"),
        (&["timeout 120 ", "/bin/switch-to-configuration boot"], "loader old"),
        (&["/bin/switch-to-configuration boot"], "loader new"),
        (&["/bin/switch-to-configuration test", "timeout -k 5 "], "test old"),
        (&["rm -f ", "/gcroots/nixdeploy/", "-old"], "drop both"),
    ];
    let found = known.iter().find(|(words, _)| has(words)).map(|(_, effect)| *effect);
    let dropped = has(&["rm -f ", "/gcroots/nixdeploy/", "-new"]).then_some("drop new");
    found.or(dropped).map(str::to_owned)
}

/// What a replay stands on that no trace shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) activate: Time,
    pub(crate) observe: Time,
    pub(crate) commit: Time,
    pub(crate) lease: Time,
    pub(crate) stage: bool,
    /// The commit's unit was killed with the process that would have recorded it.
    pub(crate) killed: bool,
    /// Somebody switched to a third system before this line.
    pub(crate) foreign_at: Option<&'static str>,
}

/// Replays a trace; the model's last word, or where they part.
pub(crate) fn replay(lines: &[Line], setting: &Setting) -> Result<Outcome, String> {
    let scene = Scene { stage: setting.stage, profile: Before::Plain, ..Scene::default() };
    let mut model = Model::new(scene, None);
    let Setting { lease, activate, observe, commit, .. } = *setting;
    model.budgets = Budgets { lease, activate, observe, commit };
    let mut begun = false;
    for (n, line) in lines.iter().enumerate() {
        model.now = model.now.max(line.clock);
        if !begun {
            model.files = Files { lease: model.now + lease, ..Files::default() };
            begun = true;
        }
        if setting.killed && line.what == "put step undo" {
            model.commit = Unit::Gone;
        }
        if setting.foreign_at == Some(line.what.as_str()) {
            model.is.running = Sys::Other;
            model.ghost.foreign = true;
        }
        follow(&mut model, line).map_err(|why| {
            let near = &lines[n.saturating_sub(5)..=n];
            format!("line {n}: {why}\n{}model: {:?} {:?}", write(near), model.at, model.files)
        })?;
    }
    // To its end, where it may have no effect that the trace does not show.
    (0..20).for_each(|_| model.step());
    let over = model.life == Life::Over && model.said.is_empty();
    match (model.files.outcome, over) {
        (Some(outcome), true) if model.ghost.broken.is_empty() => Ok(outcome),
        (outcome, _) => Err(format!("{outcome:?}, {:?}, {:?}", model.said, model.ghost.broken)),
    }
}

fn follow(model: &mut Model, line: &Line) -> Result<(), String> {
    match (line.who.as_str(), line.what.as_str()) {
        ("run", "starts") => (model.life, model.at) = (Life::Alive, At::Begin),
        (_, "starts") => {}
        ("ended", record) => {
            // `stop` of the guard has waited for it already.
            if model.said.first().is_some_and(|said| said == "put act") {
                model.said.remove(0);
                return Ok(());
            }
            end_of_activation(model, record);
            until(model, "put act", Model::act_step)?;
        }
        ("commit-ended", record) => {
            if model.said.first().is_some_and(|said| said.starts_with("put committed")) {
                model.said.remove(0);
                return Ok(());
            }
            end_of_commit(model, record);
            until(model, record, Model::commit_step)?;
        }
        ("commit-step", effect) => until(model, effect, Model::commit_step)?,
        (who @ ("run" | "post"), effect) => {
            // After a crash the last process of the unit leaves everything to the next guard.
            if who == "post" && model.life == Life::Alive {
                (model.life, model.at) = (Life::Stopping, At::Post);
            }
            // How the activation ended says its own process; here the guard wrote it itself.
            let effect = if effect.starts_with("put act") { "put act" } else { effect };
            until(model, effect, Model::step)?;
        }
        (_, effect) => {
            let request = match effect {
                "put req go" => Request::Go,
                "put req stage" => Request::Stage,
                "put req abort" => Request::Abort,
                "put req commit" => Request::Commit,
                _ => return Err("an effect of a process that has none".to_owned()),
            };
            if !model.ask(request) {
                return Err("the model does not take the request".to_owned());
            }
            model.said.clear();
        }
    }
    Ok(())
}

/// Lets one process go on until it has an effect, which must be this one.
fn until(model: &mut Model, wanted: &str, step: fn(&mut Model)) -> Result<(), String> {
    for _ in 0..300 {
        if let Some(said) = model.said.first() {
            if said != wanted {
                return Err(format!("the model says {said:?}"));
            }
            model.said.remove(0);
            return Ok(());
        }
        step(model);
    }
    Err("the model waits".to_owned())
}

fn end_of_activation(model: &mut Model, record: &str) {
    let Unit::Live(_, since) = model.act else { return };
    if record.contains("result=timeout") {
        model.scene.activation = Activation::Hangs;
        model.now = model.now.max(since + model.budgets.activate);
        model.act = Unit::Ending(End::TimedOut);
    } else if record.contains("code=exited status=0") {
        model.scene.activation = Activation::Works;
    } else if record.contains("code=exited") {
        model.scene.activation = Activation::Fails;
    } else {
        model.act = Unit::Ending(End::Cut);
    }
}

fn end_of_commit(model: &mut Model, record: &str) {
    let Unit::Live(..) = model.commit else { return };
    match record {
        "put committed 137" => model.commit = Unit::Ending(End::Cut),
        "put committed 124" => model.commit = Unit::Ending(End::TimedOut),
        "put committed 23" => model.scene.loader = Loader::FailsLate,
        _ => {}
    }
}

impl Line {
    /// Whether it is this effect.
    pub(crate) fn is(&self, what: &str) -> bool {
        self.what == what
    }

    /// Whether it is an effect of the guard or of its commit.
    pub(crate) fn is_guards(&self) -> bool {
        matches!(self.who.as_str(), "run" | "post" | "commit-step") && self.what != "starts"
    }
}
