//! `mode = "auto"`: whether a change is so calm that units and contact are all that has to be
//! looked at afterwards. It is when no unit, no kernel, no network and no user changes; what cannot
//! be told is none of that.

use std::time::Duration;

use super::admission::Admission;
use super::read::lean;
use super::rehearse::Rehearsal;
use crate::event::harmless;
use crate::fleet::StorePath;
use crate::world::ssh::{Link, Target};
use crate::world::{Output, World};

/// Asks.
const SCRIPT: &str = include_str!("calm.sh");
/// It reads two folders.
const LIMIT: Duration = Duration::from_secs(60);

/// Files of /etc by what they are about, as NixOS's modules name them.
const UNITS: [&str; 2] = ["systemd/", "dbus-1/"];
const NETWORK: [&str; 14] = [
    "NetworkManager/",
    "dhcpcd.conf",
    "hostname",
    "hosts",
    "iproute2/",
    "ipsec",
    "netns/",
    "nftables",
    "nsswitch.conf",
    "resolv",
    "ssh/",
    "systemd/network/",
    "wireguard/",
    "wpa_supplicant",
];
const USERS: [&str; 11] = [
    "doas.conf",
    "group",
    "login.defs",
    "pam.d/",
    "pam/",
    "passwd",
    "polkit-1/",
    "security/",
    "shadow",
    "sub",
    "sudo",
];

/// Why everything has to be looked at; empty: units and contact will do.
pub async fn reasons(
    world: &World,
    target: &Target,
    path: &str,
    [old, new]: [&StorePath; 2],
    (admission, rehearsal): (&Admission, &Rehearsal),
) -> Vec<String> {
    let mut reasons = known(admission, rehearsal);
    if reasons.is_empty() {
        let words = [path, old.as_str(), new.as_str()];
        let invocation = target.script(Link::Shared, &lean(SCRIPT), &words).timeout(LIMIT);
        reasons = match world.run(invocation).await {
            Ok(output) => differences(&output),
            Err(error) => vec![format!("what changes cannot be told: {error}")],
        };
    }
    reasons
}

/// What the sums and the rehearsal say already.
fn known(admission: &Admission, rehearsal: &Rehearsal) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    if admission.reboot_required {
        reasons.push(format!("another {}", admission.reboot_for.join(", ")));
    }
    match &rehearsal.units {
        None => reasons.push("which units change was not said".to_owned()),
        Some(units) => {
            let touched = units.kinds();
            let touched = touched.iter().flat_map(|(fate, names)| {
                names.iter().map(move |name| format!("{name} to {}", fate.verb()))
            });
            reasons.extend(touched.take(1));
        }
    }
    reasons
}

/// What the script found.
fn differences(output: &Output) -> Vec<String> {
    let whole = output.out.first().is_some_and(|l| l == "nixdeploy-calm=1")
        && output.out.last().is_some_and(|l| l == "end=0");
    if !whole {
        return vec!["what changes cannot be told: the host's answer broke off".to_owned()];
    }
    let mut reasons: Vec<String> = Vec::new();
    let names = output.out.iter().filter_map(|line| line.strip_prefix("etc="));
    let about = |name: &str, list: &[&str]| list.iter().any(|begin| name.starts_with(begin));
    for name in names {
        let what = match name {
            name if about(name, &NETWORK) => "network",
            name if about(name, &UNITS) => "units",
            name if about(name, &USERS) => "users",
            _ => continue,
        };
        reasons.push(format!("{what}: /etc/{}", harmless::line(name)));
        break;
    }
    if output.out.iter().any(|line| line == "activate=1") {
        reasons.push("its activation uses other files".to_owned());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::UnitChanges;
    use crate::world::Ended;

    fn said(lines: &str) -> Vec<String> {
        let out = lines.split(' ').map(str::to_owned).collect();
        differences(&Output { ended: Ended::Exited(0), out, err: Vec::new() })
    }

    #[test]
    fn only_what_was_wholly_said_and_touches_nothing_is_calm() {
        assert_eq!(said("nixdeploy-calm=1 etc=greeter.conf etc=os-release end=0"), [""; 0]);
        assert_eq!(said("nixdeploy-calm=1 etc=hosts end=0"), ["network: /etc/hosts"]);
        let told = ["network: /etc/ssh/sshd_config", "its activation uses other files"];
        assert_eq!(said("nixdeploy-calm=1 etc=a etc=ssh/sshd_config activate=1 end=0"), told);
        assert_eq!(
            said("nixdeploy-calm=1 etc=systemd/system end=0"),
            ["units: /etc/systemd/system"]
        );
        let network = ["network: /etc/systemd/network/10-lan.network"];
        assert_eq!(said("nixdeploy-calm=1 etc=systemd/network/10-lan.network end=0"), network);
        assert_eq!(said("nixdeploy-calm=1 etc=pam.d/login end=0"), ["users: /etc/pam.d/login"]);
        for broken in ["", "nixdeploy-calm=1", "nixdeploy-calm=1 etc=a", "end=0", "x end=0"] {
            assert_eq!(said(broken).len(), 1, "{broken}");
        }
    }

    #[test]
    fn a_unit_that_is_touched_or_not_told_is_a_reason() {
        let facts = crate::preflight::facts::Facts::default();
        let calm = Admission::waived(&facts, 0);
        let units = |units: Option<UnitChanges>| Rehearsal { units, ..Rehearsal::default() };
        let still = units(Some(UnitChanges::default()));
        assert_eq!(known(&calm, &still), [""; 0]);
        assert_eq!(known(&calm, &units(None)), ["which units change was not said"]);
        let restart = UnitChanges { restart: vec!["sshd.service".into()], ..Default::default() };
        assert_eq!(known(&calm, &units(Some(restart))), ["sshd.service to restart"]);
        let kernel =
            Admission { reboot_required: true, reboot_for: vec!["kernel"], ..calm.clone() };
        assert_eq!(known(&kernel, &still), ["another kernel"]);
    }
}
