//! Whether a built closure fits the host: the sums, and once more after garbage was collected.

use super::ending::Halt;
use super::host::Journey;
use super::learn::{Known, refuse};
use super::offer::Closure;
use super::room;
use crate::activate::hold::WayBack;
use crate::build::closure::{self, PathInfo};
use crate::build::missing::missing;
use crate::event::{Event, Finding, Phase, Severity};
use crate::fleet::StorePath;
use crate::preflight::Refused;
use crate::preflight::admission::{Admission, BootPart, NewClosure, admit};
use crate::preflight::facts::Facts;
use crate::preflight::toplevel::describe;
use crate::world::ssh::Link;

/// The sums, and once more after garbage was collected if the host's store is too small.
pub async fn admitted(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    paths: &[PathInfo],
    way_back: &WayBack,
) -> Result<Admission, Halt> {
    let refused = match sums(journey, known, &known.facts, built, paths).await? {
        Ok(admission) => return Ok(told(journey, admission)),
        Err(refused) => refused,
    };
    if journey.step.policy.emergency {
        return Ok(told(journey, waived(known, paths, &refused)));
    }
    let path = way_back.tools();
    let facts = match &refused {
        Refused::NoSpace { room } => {
            room::on_target(journey, &known.facts, (&known.target, &path), room).await
        }
        _ => None,
    };
    let Some(facts) = facts else { return Err(refuse(journey, None, &refused)) };
    let sums = sums(journey, known, &facts, built, paths).await?;
    sums.map(|a| told(journey, a)).map_err(|refused| refuse(journey, None, &refused))
}

/// In an emergency what the sums forbid is only told.
fn waived(known: &Known, paths: &[PathInfo], refused: &Refused) -> Admission {
    let finding = Finding {
        code: refused.code().to_owned(),
        severity: Severity::Warn,
        subject: "admission".to_owned(),
        message: format!("{}; gone on all the same: an emergency", refused.sentence()),
        suggestion: None,
    };
    let need = paths.iter().map(|path| path.nar_size).sum();
    Admission { findings: vec![finding], ..Admission::waived(&known.facts, need) }
}

/// The sums; which paths are missing is asked only when the whole closure would not fit.
pub async fn admission(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    paths: &[PathInfo],
) -> Result<Admission, Halt> {
    let sums = sums(journey, known, &known.facts, built, paths).await?;
    sums.map(|a| told(journey, a)).map_err(|refused| refuse(journey, None, &refused))
}

async fn sums(
    journey: &Journey<'_>,
    known: &Known,
    facts: &Facts,
    built: &Closure,
    paths: &[PathInfo],
) -> Result<Result<Admission, Refused>, Halt> {
    let mut new = if built.here {
        new_closure(built, paths)
    } else {
        describe(&journey.run.world, &known.target, Link::Shared, &built.toplevel)
            .await
            .map_err(|refused| refuse(journey, None, &refused))?
    };
    let policy = &journey.step.policy;
    let mut sums = admit(facts, &journey.host.name, &new, policy);
    if matches!(sums, Err(Refused::NoSpace { .. })) {
        let all: Vec<StorePath> = paths.iter().map(|p| p.path.clone()).collect();
        let lacks = missing(&journey.run.world, &known.target, Link::Shared, &all).await;
        let unread = |said| Refused::Unreadable { said: vec![said] };
        new.missing = Some(lacks.map_err(|said| refuse(journey, None, &unread(said)))?);
        sums = admit(facts, &journey.host.name, &new, policy);
    }
    Ok(sums)
}

fn told(journey: &Journey<'_>, admission: Admission) -> Admission {
    for finding in &admission.findings {
        let (host, finding) = (Some(journey.host.name.clone()), finding.clone());
        journey.run.emitter.emit(Event::Found { host, phase: Phase::Admit, finding });
    }
    admission
}

fn new_closure(built: &Closure, paths: &[PathInfo]) -> NewClosure {
    let top = closure::toplevel(&built.toplevel);
    let part = |file: Option<closure::BootFile>| {
        file.map_or(BootPart::default(), |f| BootPart {
            path: f.path.display().to_string(),
            size: f.size,
        })
    };
    NewClosure {
        toplevel: Some(built.toplevel.clone()),
        paths: paths.iter().map(|p| (p.path.clone(), p.nar_size)).collect(),
        missing: None,
        kernel: part(top.kernel),
        initrd: part(top.initrd),
        modules: top.kernel_modules.map_or(String::new(), |p| p.display().to_string()),
        params: top.kernel_params.unwrap_or_default(),
        init: top.init_interface_version.unwrap_or_default(),
        inhibitors: top.inhibitors,
    }
}

/// One line for the phase.
pub fn admission_note(admission: &Admission) -> String {
    let size = crate::preflight::admission::size;
    let (need, free) = (size(admission.need_bytes), size(admission.free_bytes));
    let reboot = if admission.reboot_required { ", reboot wanted" } else { "" };
    format!("at most {need} of {free} free{reboot}")
}
