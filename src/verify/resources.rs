//! Memory, load and file systems against the host's limits and against what was before.

use super::judge::{Expectation, finding};
use super::observe::Observed;
use crate::event::facts::Disk;
use crate::event::{Vitals, harmless};
use crate::fleet::Host;
use crate::plan::{Finding, Severity};

/// File systems kept.
const DISKS: usize = 16;

/// Takes in a line of the answer; false when it is none of ours.
pub(super) fn take(vitals: &mut Vitals, key: &str, value: &str) -> bool {
    match key {
        "memory_total_kib" => vitals.memory_total_kib = value.parse().unwrap_or(0),
        "memory_available_kib" => vitals.memory_available_kib = value.parse().unwrap_or(0),
        "load" => vitals.load_1 = value.parse().ok().filter(|l: &f64| l.is_finite()).unwrap_or(0.0),
        "cpus" => vitals.cpus = value.parse().unwrap_or(0),
        "disk" if vitals.disks.len() < DISKS => match disk(value) {
            Some(disk) => vitals.disks.push(disk),
            None => return false,
        },
        "disk" => {}
        _ => return false,
    }
    true
}

fn disk(value: &str) -> Option<Disk> {
    let mut words = value.splitn(3, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    // beyond an exbibyte it is no disk, and percentages would overflow
    let sane = |kib: &u64| *kib < 1 << 50;
    let (size_kib, free_kib) = (number().filter(sane)?, number().filter(sane)?);
    Some(Disk { mount: harmless::line(words.next()?), size_kib, free_kib })
}

/// Above a limit: a warning with the number behind it and the number before.
pub(super) fn judge(expect: &Expectation, seen: &Observed) -> Vec<Finding> {
    let now = &seen.vitals;
    let mut found = full_disks(expect.host, expect.vitals, now);
    found.extend(memory(expect, now));
    found.extend(load(expect, now));
    found
}

/// A warning for each file system that is fuller than the host's limit.
pub fn full_disks(host: &Host, before: Option<&Vitals>, now: &Vitals) -> Vec<Finding> {
    let figures = |d: &Disk| (d.size_kib, d.free_kib);
    // the store is often another mount of the root's file system
    let again = |disk: &Disk| {
        let root = now.disks.iter().find(|d| d.mount == "/");
        disk.mount != "/" && root.is_some_and(|root| figures(root) == figures(disk))
    };
    let disks = now.disks.iter().filter(|disk| !again(disk));
    disks.filter_map(|disk| full(host, before, disk)).collect()
}

fn full(host: &Host, before: Option<&Vitals>, disk: &Disk) -> Option<Finding> {
    let used = disk.used_percent();
    if disk.size_kib == 0 || used <= host.limits.disk_percent {
        return None;
    }
    let before = before.and_then(|v| v.disks.iter().find(|d| d.mount == disk.mount));
    let was = before.map_or(String::new(), |d| format!(", {} % before", d.used_percent()));
    let (free, size) = (disk.free_kib / 1024, disk.size_kib / 1024);
    let boot = disk.mount.starts_with("/boot") || disk.mount == "/efi";
    let suggestion = if boot {
        "lower boot.loader.*.configurationLimit: fewer generations keep their kernel there"
            .to_owned()
    } else {
        let address = host.address();
        let place = crate::world::invocation::quote(&disk.mount);
        format!(
            "ssh {address} sudo nix-store --gc collects what no generation needs; what else lies \
             there: ssh {address} sudo du -xhd2 {place}"
        )
    };
    Some(Finding {
        suggestion: Some(suggestion),
        ..finding(
            "disk",
            Severity::Warn,
            &disk.mount,
            format!("{used} % in use{was}; {free} of {size} MiB free"),
        )
    })
}

fn memory_percent(vitals: &Vitals) -> Option<u64> {
    let total = vitals.memory_total_kib;
    let used = u128::from(total.checked_sub(vitals.memory_available_kib)?);
    u64::try_from((used * 100).div_ceil(u128::from(total.max(1)))).ok()
}

fn memory(expect: &Expectation, now: &Vitals) -> Option<Finding> {
    let used = memory_percent(now)?;
    if used <= u64::from(expect.host.limits.memory_percent) {
        return None;
    }
    let was = expect.vitals.and_then(memory_percent);
    let was = was.map_or(String::new(), |p| format!(", {p} % before"));
    let (free, total) = (now.memory_available_kib / 1024, now.memory_total_kib / 1024);
    let message = format!("{used} % of memory in use{was}; {free} of {total} MiB available");
    Some(Finding {
        suggestion: Some(format!("ssh {} systemd-cgtop -m --order=memory", expect.host.name)),
        ..finding("memory", Severity::Warn, "memory", message)
    })
}

/// Load warns when there is twice as much to do as there are processors, and it was not so before.
fn load(expect: &Expectation, now: &Vitals) -> Option<Finding> {
    let limit = 2.0 * f64::from(now.cpus.max(1));
    let before = expect.vitals.map_or(0.0, |v| v.load_1);
    if now.load_1 <= limit || before > limit {
        return None;
    }
    let processors = if now.cpus == 1 { "processor" } else { "processors" };
    let (load, cpus) = (now.load_1, now.cpus);
    let message = format!("load {load:.1} on {cpus} {processors}, {before:.1} before");
    Some(finding("load", Severity::Warn, "load", message))
}
