//! Advice for the end of a report: what is not urgent, with the figure that says so. Pure.

use super::Observed;
use crate::plan::Finding;

/// From findings that come with a suggestion: memory near its limit, a boot partition that is
/// full, and of the other file systems the fullest.
pub fn advice(seen: &Observed, found: &[Finding]) -> Vec<String> {
    let used = |mount: &str| {
        let disk = seen.vitals.disks.iter().find(|d| d.mount == mount);
        disk.map_or(0, crate::event::facts::Disk::used_percent)
    };
    let boot = |f: &&&Finding| f.subject.starts_with("/boot") || f.subject == "/efi";
    let disks: Vec<&Finding> = found.iter().filter(|f| f.code == "disk").collect();
    let fullest = disks.iter().filter(|f| !boot(f)).max_by_key(|f| used(&f.subject));
    let tight = found.iter().filter(|f| f.code == "unit-memory" || f.code == "memory");
    let chosen = fullest.into_iter().chain(disks.iter().filter(boot)).copied().chain(tight);
    chosen
        .filter_map(|f| {
            let suggestion = f.suggestion.as_ref()?;
            Some(format!("{}: {}: {suggestion}", f.subject, f.message))
        })
        .collect()
}
