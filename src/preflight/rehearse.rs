//! What the new system says of itself on the host, after the copy and before `go`: its own check
//! and the units it would touch. Changes nothing there.

use crate::event::{UnitChanges, Wish, harmless};
use crate::fleet::StorePath;
use crate::world::ssh::{Link, Target};
use crate::world::{Output, World};

use super::exposure::{self, Exposure};
use super::read::lean;
use super::refused::Refused;

/// The script.
pub const SCRIPT: &str = include_str!("rehearse.sh");
/// Seconds that each of the two may take.
pub const EACH_S: u32 = 60;
/// Names kept of any list of units.
const MOST: usize = 4096;

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rehearsal {
    /// Units that would be touched; `None`: it would not say.
    pub units: Option<UnitChanges>,
    /// What is wanted anew: switch-to-configuration does not name it beforehand.
    pub wishes: Vec<Wish>,
    /// Worth a line in the report.
    pub notes: Vec<String>,
    /// Units that are to change and declare that there is no way back from what they do
    /// (`X-NixdeployIrreversible=WHY` in `[Unit]`), each as `UNIT: WHY`.
    pub irreversible: Vec<String>,
    /// What the system that runs opens, and what this one would.
    pub exposure: Option<(Exposure, Exposure)>,
}

/// Asks; `staged`: the system is only installed for the next boot, so a check that says "not into
/// a running system" is no refusal.
///
/// # Errors
/// When the check says no, or takes too long, or the host's answer breaks off.
pub async fn rehearse(
    world: &World,
    target: &Target,
    link: Link,
    new: &StorePath,
    staged: bool,
) -> Result<Rehearsal, Refused> {
    let seconds = EACH_S.to_string();
    let limit = std::time::Duration::from_secs(u64::from(EACH_S) * 2 + 30);
    let invocation = target.script(link, &lean(SCRIPT), &[new.as_str(), &seconds]).timeout(limit);
    let broken = |said: String| Refused::Unreadable { said: vec![harmless::line(&said)] };
    let output = world.run(invocation).await.map_err(|e| broken(e.to_string()))?;
    judge(&output, staged)
}

/// From the script's answer to a refusal or not; pure.
///
/// # Errors
/// As [`rehearse`].
pub fn judge(output: &Output, staged: bool) -> Result<Rehearsal, Refused> {
    if output.out.last().is_none_or(|l| l != "end=0") {
        let last = harmless::line(&output.err_tail(1));
        return Err(Refused::Unreadable { said: vec![output.ended.to_string(), last] });
    }
    if let Some(why) = value(output, "refused") {
        return Err(failed("not tried".to_owned(), vec![harmless::line(why)]));
    }
    let mut rehearsal = Rehearsal::default();
    let check = said(output, "check");
    match status(output, "check") {
        Some(0) => {}
        Some(1) if check.iter().any(|l| l.to_ascii_lowercase().contains("usage:")) => {
            let note = "its switch-to-configuration is too old to check itself";
            rehearsal.notes.push(note.to_owned());
        }
        Some(1) if staged => rehearsal.notes.push("its check allows it only after a reboot".into()),
        Some(11) => return Err(failed("its lock is held".to_owned(), tail(&check))),
        Some(124 | 137) => {
            return Err(failed(format!("took longer than {EACH_S} s"), tail(&check)));
        }
        Some(code) => return Err(failed(format!("exit {code}"), tail(&check))),
        None => return Err(failed("it said nothing".to_owned(), Vec::new())),
    }
    rehearsal.exposure = exposure::both(output);
    let declared = said(output, "irreversible");
    rehearsal.irreversible = declared.into_iter().take(MOST).map(harmless::line).collect();
    rehearsal.wishes = said(output, "wish").into_iter().take(MOST).filter_map(wish).collect();
    match status(output, "dry-activate") {
        Some(0) => rehearsal.units = Some(units(&said(output, "dry-activate"))),
        Some(code) => rehearsal.notes.push(format!("dry-activate ended with exit {code}")),
        None => {}
    }
    Ok(rehearsal)
}

fn failed(status: String, lines: Vec<String>) -> Refused {
    Refused::CheckFailed { status, lines }
}

fn value<'a>(output: &'a Output, key: &str) -> Option<&'a str> {
    output.out.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
}

fn status(output: &Output, action: &str) -> Option<i32> {
    value(output, &format!("{action}_rc"))?.parse().ok()
}

fn said<'a>(output: &'a Output, action: &str) -> Vec<&'a str> {
    output.out.iter().filter_map(|l| l.strip_prefix(action)?.strip_prefix('=')).collect()
}

/// `TARGET UNIT`.
fn wish(line: &str) -> Option<Wish> {
    let (by, unit) = line.split_once(' ')?;
    Some(Wish { by: harmless::line(by), unit: harmless::line(unit) })
}

/// The last lines that say something, harmless.
fn tail(lines: &[&str]) -> Vec<String> {
    let full: Vec<&&str> = lines.iter().filter(|l| !l.trim().is_empty()).collect();
    full[full.len().saturating_sub(20)..].iter().map(|l| harmless::line(l)).collect()
}

/// The lists of `dry-activate`; lines that are no list are left out.
pub fn units(lines: &[&str]) -> UnitChanges {
    let mut changes = UnitChanges::default();
    for line in lines {
        let Some((what, names)) = line.split_once(": ") else { continue };
        let list = match what.trim() {
            "would stop the following units" => &mut changes.stop,
            "would start the following units" => &mut changes.start,
            "would restart the following units" => &mut changes.restart,
            "would reload the following units" => &mut changes.reload,
            "would NOT stop the following changed units"
            | "would NOT restart the following changed units" => &mut changes.skip,
            _ => continue,
        };
        let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
        let room = MOST.saturating_sub(list.len());
        list.extend(names.take(room).map(harmless::line));
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::world::Ended;

    fn output(text: &str) -> Output {
        let out = text.lines().map(ToOwned::to_owned).collect();
        Output { ended: Ended::Exited(0), out, err: Vec::new() }
    }

    #[test]
    fn a_recorded_rehearsal_names_its_units() {
        let said = output(include_str!("fixtures/rehearsal-p620.txt"));
        let units = judge(&said, false).expect("admitted").units.expect("lists");
        assert_eq!(units.restart, ["sshd.service"]);
        assert_eq!(units.reload, ["firewall.service"]);
        assert!(units.stop.is_empty() && units.start.is_empty() && units.skip.is_empty());
    }

    #[test]
    fn a_recorded_refusal_is_one_unless_it_is_only_staged() {
        let said = output(include_str!("fixtures/rehearsal-refused.txt"));
        let refused = judge(&said, false).expect_err("refused");
        assert_eq!(refused.code(), "check-failed");
        assert_eq!(refused.causes()[0], "exit 1");
        assert!(refused.causes().contains(&"Pre-switch checks failed".to_owned()));
        assert_eq!(judge(&said, true).expect("staged").units, None);
    }

    #[test]
    fn a_system_too_old_to_check_itself_is_told_apart() {
        let said = output(
            "check=Usage: switch-to-configuration [switch|boot|test|dry-activate]\ncheck_rc=1\n\
             dry-activate=would stop the following units: a.service, b.timer\n\
             dry-activate=would NOT stop the following changed units: dbus.service\n\
             dry-activate_rc=0\nend=0",
        );
        let rehearsal = judge(&said, false).expect("admitted");
        assert_eq!(rehearsal.notes.len(), 1);
        let units = rehearsal.units.expect("lists");
        assert_eq!((units.stop.len(), units.skip.len()), (2, 1));
    }

    #[test]
    fn units_without_a_way_back_are_named() {
        let said = output(
            "check_rc=0\nirreversible=db.service: its schema is migrated\n\
             wish=multi-user.target web.service\nwish=x\nend=0",
        );
        let rehearsal = judge(&said, false).expect("admitted");
        let wish = Wish { by: "multi-user.target".to_owned(), unit: "web.service".to_owned() };
        assert_eq!(rehearsal.wishes, [wish]);
        assert_eq!(rehearsal.irreversible, ["db.service: its schema is migrated"]);
    }

    #[test]
    fn silence_and_slowness_refuse() {
        assert!(judge(&output("check=x"), false).is_err());
        assert!(judge(&output("end=0"), false).is_err());
        let slow = judge(&output("check_rc=124\nend=0"), false).expect_err("slow");
        assert_eq!(slow.causes(), ["took longer than 60 s"]);
    }

    proptest! {
        #[test]
        fn no_answer_can_break_it(lines in proptest::collection::vec(".{0,120}", 0..30)) {
            let mut lines = lines;
            lines.push("end=0".to_owned());
            let _ = judge(&Output { ended: Ended::Exited(0), out: lines, err: Vec::new() }, false);
        }
    }
}
