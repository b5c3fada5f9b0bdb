//! The arithmetic, on a host that the lab recorded.

use super::*;
use crate::event::facts::Disk;
use crate::fleet::Generation;
use crate::preflight::facts::{BootFile, Entry, Kept};
use crate::preflight::tests::{other, policy, recorded};

fn judge(facts: &Facts, new: &NewClosure) -> Result<Admission, Refused> {
    admit(facts, &HostName::new("p620").expect("name"), new, &policy())
}

fn closure(bytes: u64) -> NewClosure {
    let facts = recorded();
    let toplevel = other("nixos-system-p620-25.11");
    NewClosure {
        toplevel: Some(toplevel.clone()),
        paths: vec![(toplevel, bytes)],
        missing: None,
        kernel: BootPart { path: facts.running.kernel.clone(), size: 2 * MIB },
        initrd: BootPart { path: facts.running.initrd.clone(), size: 6 * MIB },
        modules: String::new(),
        params: facts.running.params.clone(),
        init: facts.running.init.clone(),
        inhibitors: None,
    }
}

fn with_kernel(size: u64) -> NewClosure {
    let part = |name: &str| BootPart { path: other(name).to_string(), size };
    NewClosure { kernel: part("linux"), initrd: part("initrd"), ..closure(1) }
}

/// Generations 1 to n, of which the recorded system runs as number `running`.
fn generations(n: u64, running: u64, limit: u32) -> Facts {
    let mut facts = recorded();
    let old = facts.early.pointers.running.clone().expect("running");
    let path = |i: u64| if i == running { old.clone() } else { numbered(i) };
    let kept = |i| Kept { generation: Generation(i), made_s: 0, toplevel: path(i) };
    facts.generations = (1..=n).map(kept).collect();
    facts.boot.limit = Some(limit);
    let entry = |i: u64| Entry {
        id: format!("nixos-generation-{i}.conf"),
        toplevel: Some(path(i)),
        files: vec![format!("/EFI/nixos/kernel-{i}.efi")],
    };
    facts.boot.entries = (1..=n).map(entry).collect();
    let file = |i| BootFile { path: format!("/boot/EFI/nixos/kernel-{i}.efi"), size: 20 * MIB };
    facts.boot.files = (1..=n).map(file).collect();
    facts
}

fn numbered(i: u64) -> StorePath {
    StorePath::new(format!("/nix/store/{i:032}-nixos-system-p620-{i}")).expect("path")
}

fn disk(facts: &mut Facts, place: &str, size_kib: u64, free_kib: u64) {
    let space = facts.space.iter_mut().find(|s| s.place == place).expect("recorded");
    space.disk = Disk { mount: space.disk.mount.clone(), size_kib, free_kib };
}

#[test]
fn a_small_change_fits() {
    let fits = judge(&recorded(), &closure(12 * MIB)).expect("fits");
    assert_eq!((fits.need_bytes, fits.reboot_required), (12 * MIB, false));
    assert_eq!((fits.inhibited, fits.findings), (None, vec![]));
    assert!(fits.esp_peak.expect("a boot file system") < fits.esp_free.expect("free"));
}

#[test]
fn only_what_the_host_lacks_counts() {
    let new = NewClosure { missing: Some(vec![]), ..closure(1 << 40) };
    assert_eq!(judge(&recorded(), &new).expect("fits").need_bytes, 0);
}

#[test]
fn the_store_keeps_its_margin() {
    let mut facts = recorded();
    disk(&mut facts, "/nix/store", 4 << 20, 142 * 1024);
    judge(&facts, &closure(100 * MIB)).expect("100 + 32 + 10 = 142");
    disk(&mut facts, "/nix/store", 4 << 20, 142 * 1024 - 1);
    let refused = judge(&facts, &closure(100 * MIB)).expect_err("one KiB short");
    assert_eq!(refused.code(), "no-space");
    assert!(refused.sentence().contains("need 142.0 MiB on /nix"), "{}", refused.sentence());
    assert_eq!(refused.causes().len(), 2);
    let hints = refused.hints(&HostName::new("p620").expect("name"));
    assert!(!hints.iter().any(|h| h.contains("collect-garbage")), "generations stay");
}

#[test]
fn a_full_root_is_refused() {
    let mut facts = recorded();
    disk(&mut facts, "/", 4 << 20, 100);
    assert_eq!(judge(&facts, &closure(1)).expect_err("full").code(), "no-space");
}

#[test]
fn the_boot_files_peak_is_refused_with_its_sum() {
    let mut facts = recorded();
    disk(&mut facts, "/boot", 90_000, 61 * 1024);
    judge(&facts, &with_kernel(30 * MIB)).expect("60 + 1 fit into 61");
    disk(&mut facts, "/boot", 90_000, 61 * 1024 - 1);
    let refused = judge(&facts, &with_kernel(30 * MIB)).expect_err("one KiB short");
    assert_eq!(refused.code(), "esp-too-small");
    assert!(refused.causes().iter().any(|c| c.contains("60.0 MiB of them")));
    // The kernel that is there already needs no room at all.
    disk(&mut facts, "/boot", 90_000, 0);
    judge(&facts, &closure(1)).expect("nothing is added");
}

#[test]
fn systemd_boot_deletes_first_and_lanzaboote_last() {
    let mut facts = generations(4, 4, 4);
    disk(&mut facts, "/boot", 90_000, 30 * 1024);
    // Generation 1 goes: 20 MiB are freed before 44 are written.
    judge(&facts, &with_kernel(22 * MIB)).expect("44 + 1 - 20 fit into 30");
    facts.boot.loader = Loader::Lanzaboote;
    assert_eq!(judge(&facts, &with_kernel(22 * MIB)).expect_err("peak").code(), "esp-too-small");
    facts.boot.loader = Loader::Grub;
    assert_eq!(judge(&facts, &with_kernel(22 * MIB)).expect_err("peak").code(), "esp-too-small");
    // On the store's own file system GRUB copies nothing.
    facts.space.retain(|s| s.place != "/boot");
    let mut on_store = facts.space[0].clone();
    on_store.place = "/boot".to_owned();
    on_store.disk.free_kib = 100 * 1024;
    facts.space.push(on_store);
    judge(&facts, &with_kernel(200 * MIB)).expect("nothing is copied");
}

#[test]
fn the_way_back_keeps_its_entry() {
    for (n, running, limit, fits) in
        [(3, 3, 1, false), (3, 3, 2, true), (3, 2, 2, false), (3, 1, 0, true), (3, 2, 3, true)]
    {
        let facts = generations(n, running, limit);
        let got = judge(&facts, &closure(1));
        assert_eq!(got.is_ok(), fits, "{n} {running} {limit}: {got:?}");
    }
    // Verifying what runs already makes no generation.
    let facts = generations(3, 3, 1);
    let mut same = closure(1);
    same.toplevel = facts.early.pointers.running.clone();
    judge(&facts, &same).expect("nothing is deleted");
}

#[test]
fn a_reboot_is_wanted_when_what_was_booted_differs() {
    assert!(judge(&recorded(), &with_kernel(1)).expect("fits").reboot_required);
    let mut params = closure(1);
    params.params.push_str(" quiet");
    assert!(judge(&recorded(), &params).expect("fits").reboot_required);
}

#[test]
fn inhibitors_are_compared_where_both_have_them() {
    let mut facts = recorded();
    facts.running.inhibitors = Some(r#"{"dbus":"a","old":"x","n":1}"#.to_owned());
    let with = |text: &str| NewClosure { inhibitors: Some(text.to_owned()), ..closure(1) };
    judge(&facts, &with(r#"{"dbus":"a","new":"y","n":1}"#)).expect("same where both have it");
    let refused = judge(&facts, &with(r#"{"dbus":"b"}"#)).expect_err("differs");
    assert_eq!((refused.code(), refused.causes()), ("inhibited", vec!["dbus: a -> b".to_owned()]));
    let staging = Policy { stage_on_inhibitor: true, ..policy() };
    let host = HostName::new("p620").expect("name");
    let staged = admit(&facts, &host, &with(r#"{"dbus":"b"}"#), &staging).expect("staged");
    assert!(staged.inhibited.is_some());
    // The host has none yet: nothing to compare.
    judge(&recorded(), &with(r#"{"dbus":"b"}"#)).expect("first time");
}

#[test]
fn the_older_list_is_compared_with_what_was_booted() {
    let mut facts = recorded();
    facts.booted.inhibitors = Some("/nix/store/b\t/nix/store/a\t".to_owned());
    let with = |text: &str| NewClosure { inhibitors: Some(text.to_owned()), ..closure(1) };
    judge(&facts, &with("/nix/store/a\n/nix/store/b\n")).expect("same in another order");
    assert_eq!(judge(&facts, &with("/nix/store/a\n")).expect_err("no").code(), "inhibited");
}

#[test]
fn another_init_is_no_switch() {
    let new = NewClosure { init: "2".to_owned(), ..closure(1) };
    assert_eq!(judge(&recorded(), &new).expect_err("init").causes(), ["init: 1 -> 2"]);
}

#[test]
fn a_closure_with_a_foreign_name_is_told() {
    let new = NewClosure { toplevel: Some(other("nixos-system-razer-25.11")), ..closure(1) };
    assert_eq!(judge(&recorded(), &new).expect("fits").findings[0].code, "host-name");
}
