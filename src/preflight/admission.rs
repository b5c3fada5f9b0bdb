//! Whether a built closure fits the host: space, the boot loader at its peak, switch inhibitors.
//! Pure arithmetic over facts and the closure; the numbers are part of every refusal.
//!
//! Margins: 32 MiB and a tenth of what is copied on the store's file system (directories, block
//! rounding, Nix's database, the guard's reserve of 8 MiB), 16 MiB on a root of its own, 1 MiB on
//! the boot loader's (entries, FAT clusters).

use std::collections::BTreeMap;

use crate::event::{Finding, Severity};
use crate::fleet::{HostName, StorePath};
use crate::plan::policy::Policy;

use super::facts::{Facts, Loader, System};
use super::refused::Refused;

const MIB: u64 = 1 << 20;
/// Always kept free on the store's file system.
const STORE_SPARE: u64 = 32 * MIB;
/// Must be free on a root file system of its own.
const ROOT_SPARE: u64 = 16 * MIB;
/// Kept free on the boot loader's file system.
const BOOT_SPARE: u64 = MIB;

/// A built system, as far as admission needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewClosure {
    /// Its toplevel.
    pub toplevel: Option<StorePath>,
    /// Every path of the closure with its NAR size.
    pub paths: Vec<(StorePath, u64)>,
    /// Those that the host lacks; `None`: not asked, so all of them.
    pub missing: Option<Vec<StorePath>>,
    /// Where its kernel really is, and its bytes.
    pub kernel: BootPart,
    /// Where its initrd really is, and its bytes.
    pub initrd: BootPart,
    /// Where its kernel modules really are; empty when they lie in the toplevel.
    pub modules: String,
    /// Its kernel-params, raw.
    pub params: String,
    /// Its init-interface-version.
    pub init: String,
    /// Its switch-inhibitors, raw; `None`: it has none.
    pub inhibitors: Option<String>,
}

/// A file that the boot loader needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootPart {
    /// Where it really is in the store.
    pub path: String,
    /// Its bytes.
    pub size: u64,
}

/// The closure fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Bytes that will be copied.
    pub need_bytes: u64,
    /// Bytes free on the store's file system.
    pub free_bytes: u64,
    /// Bytes in use on the boot loader's file system at the peak; `None`: no such file system.
    pub esp_peak: Option<u64>,
    /// Bytes that are free there now.
    pub esp_free: Option<u64>,
    /// Kernel, initrd, modules or parameters differ from what is booted.
    pub reboot_required: bool,
    /// Which of them.
    pub reboot_for: Vec<&'static str>,
    /// It may only be staged for the next boot, because of this.
    pub inhibited: Option<Inhibited>,
    /// Worth a warning.
    pub findings: Vec<Finding>,
}

impl Admission {
    /// What is known where the sums forbid and are not obeyed.
    pub fn waived(facts: &Facts, need_bytes: u64) -> Self {
        Self {
            need_bytes,
            free_bytes: free(facts, "/nix/store"),
            esp_peak: None,
            esp_free: None,
            reboot_required: false,
            reboot_for: Vec::new(),
            inhibited: None,
            findings: Vec::new(),
        }
    }
}

/// Why a change must wait for a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inhibited {
    /// Keys with the value before and after.
    pub keys: Vec<(String, String, String)>,
    /// init-interface-version before and after, if they differ.
    pub init: Option<(String, String)>,
}

impl Inhibited {
    /// One line per reason.
    pub fn lines(&self) -> Vec<String> {
        let line = crate::event::harmless::line;
        let keys = self.keys.iter().map(|(k, old, new)| line(&format!("{k}: {old} -> {new}")));
        let init = self.init.iter().map(|(old, new)| line(&format!("init: {old} -> {new}")));
        keys.chain(init).collect()
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.init.is_none()
    }
}

/// A file system with its arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Mount point or folder.
    pub place: String,
    /// Bytes needed, margin included.
    pub need: u64,
    /// Bytes free.
    pub free: u64,
    /// How `need` comes about, one summand a line.
    pub sums: Vec<String>,
    /// Files of the boot loader that no entry names: an interrupted installation left them.
    pub stale: Vec<String>,
}

impl Room {
    /// "need 1.2 GiB on /nix, 0.9 GiB free".
    pub fn sentence(&self) -> String {
        format!("need {} on {}, {} free", size(self.need), self.place, size(self.free))
    }
}

/// Decides; says with which numbers.
///
/// # Errors
/// When it does not fit, or must not be switched to and the policy is not to stage it.
pub fn admit(
    facts: &Facts,
    host: &HostName,
    new: &NewClosure,
    policy: &Policy,
) -> Result<Admission, Refused> {
    let need_bytes = delta(new);
    store(facts, need_bytes)?;
    root(facts)?;
    window(facts, new)?;
    let esp = esp(facts, new)?;
    let reboot_for = reboot_for(facts, new);
    let inhibited = inhibited(facts, new);
    if !policy.stage_on_inhibitor && !inhibited.is_empty() {
        return Err(Refused::Inhibited { what: inhibited });
    }
    Ok(Admission {
        need_bytes,
        free_bytes: free(facts, "/nix/store"),
        esp_peak: esp.as_ref().map(|e| e.0),
        esp_free: esp.map(|e| e.1),
        reboot_required: !reboot_for.is_empty(),
        reboot_for,
        inhibited: (!inhibited.is_empty()).then_some(inhibited),
        findings: findings(facts, host, new),
    })
}

/// Bytes of the closure that the host lacks.
fn delta(new: &NewClosure) -> u64 {
    let lacks = |path: &StorePath| new.missing.as_ref().is_none_or(|m| m.contains(path));
    new.paths.iter().filter(|(p, _)| lacks(p)).map(|(_, bytes)| *bytes).sum()
}

fn free(facts: &Facts, place: &str) -> u64 {
    facts.space(place).map_or(0, |d| d.free_kib.saturating_mul(1024))
}

fn store(facts: &Facts, delta: u64) -> Result<(), Refused> {
    let Some(disk) = facts.space("/nix/store") else { return Ok(()) };
    let spare = STORE_SPARE + delta / 10;
    let (need, free) = (delta.saturating_add(spare), free(facts, "/nix/store"));
    if need <= free {
        return Ok(());
    }
    let sums = vec![
        format!("{} of the closure are not on the host", size(delta)),
        format!("{} to spare (32 MiB and a tenth)", size(spare)),
    ];
    Err(Refused::NoSpace {
        room: Room { place: disk.mount.clone(), need, free, sums, stale: Vec::new() },
    })
}

/// A root file system apart from the store's needs room for what activation writes.
fn root(facts: &Facts) -> Result<(), Refused> {
    let (Some(root), Some(store)) = (facts.space("/"), facts.space("/nix/store")) else {
        return Ok(());
    };
    let free = free(facts, "/");
    if root.mount == store.mount || free >= ROOT_SPARE {
        return Ok(());
    }
    let sums = vec!["16 MiB for what activation writes".to_owned()];
    let (place, stale) = (root.mount.clone(), Vec::new());
    let room = Room { place, need: ROOT_SPARE, free, sums, stale };
    Err(Refused::NoSpace { room })
}

/// Whether the new closure will be a generation of its own.
fn makes_generation(facts: &Facts, new: &NewClosure) -> bool {
    new.toplevel != facts.early.pointers.profile
}

/// Generations that keep an entry when the new one has become the newest.
fn retained(facts: &Facts, new: &NewClosure) -> Vec<StorePath> {
    let ours = usize::from(makes_generation(facts, new));
    let limit = match facts.boot.limit {
        Some(0) | None => usize::MAX,
        Some(limit) => (limit as usize).saturating_sub(ours),
    };
    facts.generations.iter().rev().take(limit).map(|g| g.toplevel.clone()).collect()
}

/// The running system must keep its entry while the new one is written: it is the way back.
fn window(facts: &Facts, new: &NewClosure) -> Result<(), Refused> {
    let (Some(limit), Some(old)) = (facts.boot.limit, &facts.early.pointers.running) else {
        return Ok(());
    };
    // Without a generation of its own it has no entry that could be lost (first deploy).
    let known = facts.generations.iter().any(|g| g.toplevel == *old);
    let same = new.toplevel.as_ref() == Some(old);
    if limit == 0 || same || !known || retained(facts, new).contains(old) {
        return Ok(());
    }
    Err(Refused::WindowTooSmall { limit, old: old.clone() })
}

/// Bytes in use at the peak and free now, on the boot loader's file system.
fn esp(facts: &Facts, new: &NewClosure) -> Result<Option<(u64, u64)>, Refused> {
    let Some((place, disk)) = facts.boot.mount.as_ref().and_then(|m| Some((m, facts.space(m)?)))
    else {
        return Ok(None);
    };
    let store = facts.space("/nix/store").map(|d| &d.mount);
    let own = Some(&disk.mount) != store;
    // GRUB and extlinux read kernels from the store when they can: nothing is copied then.
    let copies = own || matches!(facts.boot.loader, Loader::SystemdBoot | Loader::Lanzaboote);
    let added = if copies { added(facts, new) } else { 0 };
    // systemd-boot's builder deletes first; Lanzaboote and GRUB write first and delete last.
    let freed = if facts.boot.loader == Loader::SystemdBoot { freed(facts, new) } else { 0 };
    let (free, used) = (disk.free_kib * 1024, disk.size_kib.saturating_sub(disk.free_kib) * 1024);
    let peak = (used + added).saturating_sub(freed);
    let need = (added + BOOT_SPARE).saturating_sub(freed);
    if added == 0 || need <= free {
        return Ok(Some((peak, free)));
    }
    let mut sums = vec![
        format!("kernel {}, initrd {}", size(new.kernel.size), size(new.initrd.size)),
        format!("{} of them are not there yet", size(added)),
        format!("{} to spare", size(BOOT_SPARE)),
    ];
    match facts.boot.loader {
        Loader::SystemdBoot if freed > 0 => {
            sums.push(format!("{} of old generations are deleted before", size(freed)));
        }
        Loader::SystemdBoot => sums.push("nothing is deleted before".to_owned()),
        _ => sums.push("old generations are deleted only afterwards".to_owned()),
    }
    let stale = stale(facts);
    sums.extend(
        stale.iter().map(|f| format!("{} is stale: {} that no entry names", f.path, size(f.size))),
    );
    let stale = stale.iter().map(|f| f.path.clone()).collect();
    Err(Refused::EspTooSmall { room: Room { place: place.clone(), need, free, sums, stale } })
}

/// Kernels and initrds that no entry names. Only systemd-boot's entries name their files.
fn stale(facts: &Facts) -> Vec<&super::facts::BootFile> {
    let boot = &facts.boot;
    if boot.loader != Loader::SystemdBoot || boot.entries.is_empty() {
        return Vec::new();
    }
    let named = |path: &str| boot.entries.iter().flat_map(|e| &e.files).any(|f| path.ends_with(f));
    boot.files.iter().filter(|f| f.path.contains("/EFI/nixos/") && !named(&f.path)).collect()
}

/// Bytes of the new kernel and initrd that are not in the boot loader's folder yet.
fn added(facts: &Facts, new: &NewClosure) -> u64 {
    let parts = [&new.kernel, &new.initrd].into_iter().filter(|p| !installed(facts, p));
    parts.map(|p| p.size).sum()
}

/// A file is there if one is named after its store path, or if a system that has an entry has the
/// very same one (Lanzaboote and newer builders name files by content).
fn installed(facts: &Facts, part: &BootPart) -> bool {
    let hash = store_hash(&part.path);
    let named = |f: &super::facts::BootFile| hash.is_some_and(|h| f.path.contains(h));
    let entered = |top: &Option<StorePath>| {
        top.is_some() && facts.boot.entries.iter().any(|e| e.toplevel == *top)
    };
    let (running, booted) = (&facts.running, &facts.booted);
    facts.boot.files.iter().any(named)
        || (entered(&facts.early.pointers.running)
            && [&running.kernel, &running.initrd].contains(&&part.path))
        || (entered(&facts.early.pointers.booted)
            && [&booted.kernel, &booted.initrd].contains(&&part.path))
}

fn store_hash(path: &str) -> Option<&str> {
    path.strip_prefix("/nix/store/")?.get(..32)
}

/// Bytes that only entries of generations beyond the limit use.
fn freed(facts: &Facts, new: &NewClosure) -> u64 {
    let keep = retained(facts, new);
    if facts.boot.limit.is_none() || facts.generations.is_empty() {
        return 0;
    }
    let mut uses: BTreeMap<&str, bool> = BTreeMap::new();
    for entry in &facts.boot.entries {
        // An entry of something else (a memory test, another system) is never deleted.
        let kept = entry.toplevel.as_ref().is_none_or(|t| keep.contains(t));
        for file in &entry.files {
            *uses.entry(file).or_default() |= kept;
        }
    }
    let wanted = [&new.kernel, &new.initrd].map(|p| store_hash(&p.path));
    let goes = |file: &&super::facts::BootFile| {
        let unused = uses.iter().any(|(name, kept)| !kept && file.path.ends_with(name));
        unused && !wanted.iter().flatten().any(|hash| file.path.contains(hash))
    };
    facts.boot.files.iter().filter(goes).map(|f| f.size).sum()
}

fn reboot_for(facts: &Facts, new: &NewClosure) -> Vec<&'static str> {
    let (kernel, initrd) = (new.kernel.path.clone(), new.initrd.path.clone());
    let (modules, params) = (new.modules.clone(), new.params.clone());
    let next = System { kernel, initrd, modules, params, ..System::default() };
    parts_apart(&facts.booted, &next)
}

/// What only a reboot brings: parts of a system that differ from those that were booted.
pub(super) fn parts_apart(booted: &System, next: &System) -> Vec<&'static str> {
    let differs = |old: &str, new: &str| !old.is_empty() && !new.is_empty() && old != new;
    let parts = [
        ("kernel", differs(&booted.kernel, &next.kernel)),
        ("initrd", differs(&booted.initrd, &next.initrd)),
        ("kernel modules", differs(&booted.modules, &next.modules)),
        ("kernel parameters", booted.params.trim() != next.params.trim()),
    ];
    parts.into_iter().filter(|(_, other)| *other).map(|(name, _)| name).collect()
}

/// What forbids a switch; the newer format is a map compared with the running system, the older
/// a list of paths compared with the booted one.
fn inhibited(facts: &Facts, new: &NewClosure) -> Inhibited {
    let mut found = Inhibited::default();
    let init = |text: &str| text.trim().to_owned();
    let (old, now) = (init(&facts.running.init), init(&new.init));
    if !old.is_empty() && !now.is_empty() && old != now {
        found.init = Some((old, now));
    }
    let Some(now) = new.inhibitors.as_deref() else { return found };
    match (map(now), facts.running.inhibitors.as_deref().and_then(map)) {
        (Some(now), Some(old)) => {
            let both = old.into_iter().filter_map(|(k, v)| now.get(&k).map(|n| (k, v, n.clone())));
            found.keys = both.filter(|(_, old, new)| old != new).collect();
        }
        (None, _) => {
            let booted = facts.booted.inhibitors.as_deref().map(list).unwrap_or_default();
            let now = list(now);
            if !booted.is_empty() && booted != now {
                let show = |l: &[String]| l.join(" ");
                found.keys.push(("critical components".to_owned(), show(&booted), show(&now)));
            }
        }
        (Some(_), None) => {}
    }
    found
}

/// A JSON object with each value as text.
fn map(text: &str) -> Option<BTreeMap<String, String>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let text = |v: serde_json::Value| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned);
    Some(object.into_iter().map(|(k, v)| (k, text(v))).collect())
}

/// One path a line; line ends became tabs on the way.
fn list(text: &str) -> Vec<String> {
    let lines = text.split(['\n', '\t']).map(str::trim).filter(|l| !l.is_empty());
    let mut lines: Vec<String> = lines.map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

fn findings(facts: &Facts, host: &HostName, new: &NewClosure) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.space("/nix/store").is_none() {
        found.push(warn("space", "/nix/store", "free space is not known"));
    }
    if facts.boot.limit.is_none() && facts.boot.mount.is_some() {
        let message = "how many generations the boot loader keeps is not known";
        found.push(warn("boot-limit", "boot loader", message));
    }
    let mount = |place: &str| facts.space(place).map(|d| d.mount.clone());
    let esp = matches!(facts.boot.loader, Loader::SystemdBoot | Loader::Lanzaboote);
    if let Some(place) = facts.boot.mount.as_deref().filter(|p| esp && mount(p) == mount("/")) {
        found.push(warn("esp-not-mounted", place, "lies on the root file system"));
    }
    // what is a generation of this host already need not bear its name of today
    let fresh = |top: &&StorePath| !facts.generations.iter().any(|k| k.toplevel == **top);
    let top = new.toplevel.as_ref().filter(fresh);
    if let Some(name) = top.and_then(|t| t.name().strip_prefix("nixos-system-")) {
        let known = [host.as_str(), &facts.early.hostname];
        if !known.iter().any(|k| name.strip_prefix(*k).is_some_and(|r| r.starts_with('-'))) {
            let message = format!("the closure is named {name}, which is no name of this host");
            found.push(warn("host-name", host.as_str(), &message));
        }
    }
    found
}

fn warn(code: &str, subject: &str, message: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: Severity::Warn,
        subject: subject.to_owned(),
        message: message.to_owned(),
        suggestion: None,
    }
}

/// "1.2 GiB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut whole = bytes as f64;
    while whole >= 1024.0 && unit + 1 < UNITS.len() {
        whole /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{whole:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
