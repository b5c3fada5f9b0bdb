//! The scripts of preflight in a scratch root: whole, with every tool missing, with hostile files
//! and arguments, and with no program but `sh` to be found anywhere.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nixdeploy::fleet::StorePath;
use nixdeploy::preflight::answer::{self, LAST, PART};
use nixdeploy::preflight::facts::{Facts, Guard, Loader};
use nixdeploy::preflight::{read, rehearse};

const OLD: &str = "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-nixos-system-p620-1";
const NEW: &str = "/nix/store/1c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-nixos-system-p620-2";
const TOOLS: &[&str] = &[
    "awk", "cut", "date", "df", "dirname", "grep", "head", "id", "ip", "nproc", "readlink", "sed",
    "sort", "stat", "tail", "timeout", "tr",
];

/// A host's files below a folder.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    /// A host with generations 1 and 2, of which 2 runs, is the profile and the boot default.
    fn new(tools: &[&str]) -> Self {
        let root = Self { folder: tempfile::tempdir().expect("folder") };
        for (system, generation) in [(OLD, 1), (NEW, 2)] {
            root.write(&format!("{system}/nixos-version"), "25.11");
            root.write(&format!("{system}/bin/switch-to-configuration"), "");
            root.write(&format!("{system}/kernel-params"), "quiet");
            root.write(&format!("{system}/etc/hostname"), "p620\n");
            root.folder(&format!("{system}/sw/bin"));
            let link = format!("/nix/var/nix/profiles/system-{generation}-link");
            root.link(&link, system);
            root.entry(&format!("nixos-generation-{generation}.conf"), generation, system);
        }
        for tool in tools {
            root.tool(tool);
        }
        root.link("/nix/var/nix/profiles/system", "/nix/var/nix/profiles/system-2-link");
        for link in ["/run/current-system", "/run/booted-system"] {
            root.link(link, NEW);
        }
        root.link("/etc/static", &format!("{NEW}/etc"));
        root.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        root.write("/etc/resolv.conf", "# by hand\nnameserver 10.0.0.1\noptions x\n");
        root.write("/proc/sys/kernel/hostname", "p620\n");
        root.write("/proc/sys/kernel/random/boot_id", "b007\n");
        root.write("/proc/uptime", "12.34 56.78\n");
        root.write("/proc/loadavg", "0.50 0.40 0.30 1/100 1234\n");
        root.write("/proc/meminfo", "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n");
        root.write("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\n");
        root.write("/proc/locks", "");
        root.loader("default nixos-generation-2.conf\n");
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn folder(&self, path: &str) {
        fs::create_dir_all(self.path(path)).expect("folder");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, text).expect("written");
    }

    /// A link between two places of the root.
    fn link(&self, from: &str, to: &str) {
        let from = self.path(from);
        fs::create_dir_all(from.parent().expect("parent")).expect("folder");
        let _ = fs::remove_file(&from);
        symlink(self.path(to), from).expect("linked");
    }

    fn tool(&self, name: &str) {
        let found = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|d| Path::new(d).join(name));
        if let Some(real) = found.iter().find(|p| p.exists()) {
            symlink(real, self.path(&format!("{NEW}/sw/bin/{name}"))).expect("linked");
        }
    }

    fn loader(&self, text: &str) {
        self.write("/boot/loader/loader.conf", text);
    }

    fn entry(&self, id: &str, generation: u32, system: &str) {
        let text = format!(
            "title NixOS\nversion Generation {generation}\nlinux /EFI/nixos/k{generation}.efi\n\
             initrd /EFI/nixos/i{generation}.efi\noptions init={system}/init quiet\n"
        );
        self.write(&format!("/boot/loader/entries/{id}"), &text);
    }

    /// Every file of the root with its content, to see that nothing was changed.
    fn snapshot(&self) -> Vec<(PathBuf, Option<String>)> {
        let mut seen = Vec::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("folder") {
                let path = entry.expect("entry").path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path.clone());
                }
                seen.push((path.clone(), fs::read_to_string(&path).ok()));
            }
        }
        seen.sort();
        seen
    }

    /// The host's answer, with the root's own path taken out of what its tools printed.
    fn ask(&self) -> (Facts, Vec<String>) {
        let root = self.folder.path().to_string_lossy().into_owned();
        let (lines, err) = run("sh", &read::lean(read::SCRIPT), &[&root]);
        assert_eq!(err, "", "standard error is silent");
        let lines: Vec<String> = lines.iter().map(|l| l.replace(&root, "")).collect();
        let (facts, oddities) = answer::parse(&lines);
        assert_eq!(oddities, [], "{lines:#?}");
        (facts, lines)
    }
}

/// Runs a script as ssh would have it run: on standard input, with words behind it.
#[expect(clippy::disallowed_methods, reason = "the test is about what a real shell does")]
fn run(shell: &str, script: &str, args: &[&str]) -> (Vec<String>, String) {
    let mut child = Command::new(shell)
        .args(["-s", "--"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(script.as_bytes()).expect("the script is read");
    drop(stdin);
    let output = child.wait_with_output().expect("output");
    let text = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (text.lines().map(ToOwned::to_owned).collect(), err)
}

fn path(text: &str) -> Option<StorePath> {
    Some(StorePath::new(text).expect("store path"))
}

#[test]
fn a_host_is_read_as_a_whole_and_left_as_it_was() {
    let root = Root::new(TOOLS);
    let before = root.snapshot();
    let (facts, lines) = root.ask();
    assert_eq!(root.snapshot(), before);
    assert!(facts.complete);
    let pointers = &facts.early.pointers;
    assert!(pointers.all_are(&path(NEW).expect("path")), "{pointers:?}");
    assert_eq!(pointers.generation.map(|g| g.0), Some(2));
    assert_eq!((facts.early.hostname.as_str(), facts.early.boot_id.as_str()), ("p620", "b007"));
    assert_eq!(facts.early.guard, Guard::None);
    assert!(facts.early.nixos);
    assert_eq!((facts.uptime_s, facts.load.memory_available_kib), (12, 1024));
    assert_eq!(facts.boot.loader, Loader::SystemdBoot);
    assert_eq!(facts.boot.entries.len(), 2);
    assert_eq!(facts.boot.entries[0].toplevel, path(OLD));
    assert_eq!(facts.generations.len(), 2);
    assert_eq!(facts.running.params, "quiet");
    assert_eq!(facts.network.nameservers, ["10.0.0.1"]);
    assert!(lines.iter().position(|l| l == PART) < lines.iter().position(|l| l == LAST));
}

#[test]
fn without_a_single_tool_the_first_part_is_whole() {
    let root = Root::new(&[]);
    let (facts, _) = root.ask();
    assert!(facts.complete);
    assert!(facts.early.pointers.all_are(&path(NEW).expect("path")));
    assert_eq!(facts.early.pointers.generation.map(|g| g.0), Some(2));
    assert!(!facts.systemd && facts.missing.contains(&"systemd-run".to_owned()));
}

#[test]
fn each_missing_tool_leaves_out_its_own_key_alone() {
    for tool in TOOLS {
        let rest: Vec<&str> = TOOLS.iter().copied().filter(|t| t != tool).collect();
        let (facts, _) = Root::new(&rest).ask();
        assert!(facts.complete, "without {tool}");
        assert!(facts.early.pointers.profile.is_some(), "without {tool}");
    }
}

#[test]
fn bash_and_dash_agree() {
    let root = Root::new(TOOLS);
    let place = root.folder.path().to_string_lossy().into_owned();
    let steady = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|l| !l.starts_with("now=") && !l.starts_with("disk=")).collect()
    };
    let (by_sh, _) = run("sh", &read::lean(read::SCRIPT), &[&place]);
    let (by_bash, _) = run("bash", read::SCRIPT, &[&place]);
    assert_eq!(steady(by_sh), steady(by_bash));
}

#[test]
fn an_empty_machine_says_so() {
    let root = Root { folder: tempfile::tempdir().expect("folder") };
    let (lines, _) = run("sh", read::SCRIPT, &[&root.folder.path().to_string_lossy()]);
    let (facts, _) = answer::parse(&lines);
    assert!(facts.complete && !facts.early.nixos);
    assert_eq!(facts.early.pointers.running, None);
}

#[test]
fn hostile_files_run_nothing_and_stay_on_their_line() {
    let root = Root::new(TOOLS);
    let canary = root.path("/canary");
    let evil = format!("$(touch {0});`touch {0}`\u{1b}]0;x", canary.display());
    root.write("/etc/machine-id", &evil);
    root.write("/proc/sys/kernel/hostname", &evil);
    root.write("/etc/resolv.conf", &format!("nameserver {evil}\n"));
    root.write(&format!("{NEW}/kernel-params"), &evil);
    root.write("/run/nixdeploy/$(touch canary)/owner", &evil);
    root.write("/run/nixdeploy/$(touch canary)/phase", "observe\nend=0\nuid=0");
    root.loader(&format!("default {evil}\n"));
    let place = root.folder.path().to_string_lossy().into_owned();
    let (lines, _) = run("sh", read::SCRIPT, &[&place, "; touch canary", "$(touch canary)"]);
    assert!(!canary.exists() && !Path::new("canary").exists());
    let (facts, _) = answer::parse(&lines);
    assert!(facts.complete);
    assert_eq!(lines.iter().filter(|l| *l == LAST).count(), 1);
    assert!(!facts.early.hostname.contains('\u{1b}'));
    assert_eq!(facts.transactions[0].phase, "observe");
}

#[test]
fn drift_is_seen_in_each_pointer() {
    let root = Root::new(TOOLS);
    root.link("/run/current-system", OLD);
    // The tools belong to the running system.
    fs::remove_dir(root.path(&format!("{OLD}/sw/bin"))).expect("empty");
    symlink(root.path(&format!("{NEW}/sw/bin")), root.path(&format!("{OLD}/sw/bin")))
        .expect("link");
    let (facts, _) = root.ask();
    let p = &facts.early.pointers;
    assert_eq!((p.running.clone(), p.profile.clone()), (path(OLD), path(NEW)));
    assert_eq!(p.boot_default, path(NEW));
    assert!(!p.etc_matches, "/etc belongs to the other one");
}

#[test]
fn the_boot_default_is_what_the_loader_would_take() {
    let root = Root::new(TOOLS);
    let default = |loader: &str| {
        root.loader(loader);
        root.ask().0.early.pointers.boot_default
    };
    assert_eq!(default("timeout 5\ndefault nixos-generation-1.conf\n"), path(OLD));
    assert_eq!(default("default nixos-generation-1\n"), path(OLD), "without its ending");
    assert_eq!(default("default nixos-*\n"), path(NEW), "several: the newest");
    assert_eq!(default("default gone.conf\n"), path(NEW), "none: the newest");
    assert_eq!(default("timeout 5\n"), path(NEW), "no default: the newest");
    assert_eq!(default("default nixos-*\npreferred nixos-generation-1.conf\n"), path(OLD));
    // A boot counter is no part of the entry's id.
    let entries = root.path("/boot/loader/entries");
    let counted = entries.join("nixos-generation-1+2-1.conf");
    fs::rename(entries.join("nixos-generation-1.conf"), counted).expect("renamed");
    assert_eq!(default("default nixos-generation-1.conf\n"), path(OLD));
}

#[test]
fn a_variable_of_the_firmware_goes_before_the_file() {
    let root = Root::new(TOOLS);
    let variable = "LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    root.write(&format!("/sys/firmware/efi/efivars/{variable}"), "x");
    root.write(
        &format!("{NEW}/sw/bin/bootctl"),
        &format!(
            "#!/bin/sh\necho '[{{\"id\":\"a\",\"isDefault\":false,\"options\":\"init={NEW}/init\"}},\
             {{\"id\":\"b\",\"isDefault\":true,\"options\":\"quiet init={OLD}/init x\"}}]'\n"
        ),
    );
    let tool = root.path(&format!("{NEW}/sw/bin/bootctl"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(tool, mode).expect("executable");
    assert_eq!(root.ask().0.early.pointers.boot_default, path(OLD));
}

#[test]
fn unified_images_are_read_by_their_command_line() {
    let root = Root::new(TOOLS);
    fs::remove_dir_all(root.path("/boot/loader/entries")).expect("removed");
    for (generation, system) in [(9, OLD), (10, NEW)] {
        let image = format!("MZ\0\0.cmdline\0init={system}/init quiet\0\0\n\0");
        root.write(&format!("/boot/EFI/Linux/nixos-generation-{generation}-x.efi"), &image);
    }
    root.loader("default nixos-*\n");
    let (facts, _) = root.ask();
    assert_eq!(facts.early.pointers.boot_default, path(NEW), "10 comes after 9");
    assert_eq!(facts.boot.loader, Loader::Lanzaboote);
    assert_eq!(facts.boot.entries.len(), 2);
}

#[test]
fn grub_and_extlinux_are_read_too() {
    let root = Root::new(TOOLS);
    fs::remove_dir_all(root.path("/boot")).expect("removed");
    let grub = |default: &str| {
        format!(
            "if [ \"${{next_entry}}\" ]; then\n  set default=\"${{next_entry}}\"\nelse\n  \
             set default={default}\nfi\nmenuentry \"NixOS\" {{\n  linux ($d)/x init={OLD}/init a\n}}\n\
             menuentry \"B\" {{\n  linux ($d)/x init={NEW}/init a\n}}\n"
        )
    };
    root.write("/boot/grub/grub.cfg", &grub("\"0\""));
    assert_eq!(root.ask().0.early.pointers.boot_default, path(OLD));
    assert_eq!(root.ask().0.boot.loader, Loader::Grub);
    root.write("/boot/grub/grub.cfg", &grub("\"${saved_entry}\""));
    assert_eq!(root.ask().0.early.pointers.boot_default, None, "remembered: not told");
    root.write("/boot/grub/grub.cfg", &grub("0"));
    root.write("/boot/grub/grubenv", "# GRUB\nnext_entry=1\n");
    assert_eq!(root.ask().0.early.pointers.boot_default, None, "one-shot: not told");
    fs::remove_dir_all(root.path("/boot")).expect("removed");
    let text = format!(
        "DEFAULT nixos-default\nLABEL nixos-default\n  LINUX ../x\n  APPEND init={OLD}/init a\n"
    );
    root.write("/boot/extlinux/extlinux.conf", &text);
    assert_eq!(root.ask().0.early.pointers.boot_default, path(OLD));
}

/// As install-grub.pl writes it: entries before NixOS's, then NixOS's, then all configurations in
/// a submenu.
#[test]
fn grub_counts_its_entries() {
    let root = Root::new(TOOLS);
    fs::remove_dir_all(root.path("/boot")).expect("removed");
    let told = |default: &str, before: &str, line: &str| {
        let text = format!(
            "function savedefault {{\n  save_env saved_entry\n}}\nset default={default}\n{before}\
             menuentry \"NixOS\" --class nixos --unrestricted {{\nsearch --set=drive1 x\n  {line} \
             init={OLD}/init loglevel=4\n  initrd ($drive1)//kernels/i\n}}\n\n\
             submenu \"NixOS - All configurations\" --class submenu {{\n\
             menuentry \"NixOS - Configuration 2\" {{\n  linux x init={NEW}/init\n}}\n}}\n"
        );
        root.write("/boot/grub/grub.cfg", &text);
        root.ask().0.early.pointers.boot_default
    };
    let linux = "linux ($drive1)//kernels/k";
    let windows = "menuentry \"Windows\" {\n  chainloader (hd0,1)+1\n}\n";
    assert_eq!(told("0", "", linux), path(OLD));
    assert_eq!(told("0", windows, linux), None, "Windows is no system of ours");
    assert_eq!(told("1", windows, linux), path(OLD));
    assert_eq!(told("1", "", linux), None, "the submenu");
    assert_eq!(told("2", "", linux), None, "nothing is there");
    assert_eq!(told("\"NixOS\"", "", linux), None, "by its title");
    let xen = "multiboot ($drive1)//kernels/xen.gz\n  module ($drive1)//kernels/k";
    assert_eq!(told("0", "", xen), path(OLD));
}

#[test]
fn extlinux_has_more_than_one_entry() {
    let root = Root::new(TOOLS);
    fs::remove_dir_all(root.path("/boot")).expect("removed");
    let entry = |label: &str, system: &str| {
        format!("LABEL {label}\n  MENU LABEL x\n  LINUX ../x\n  APPEND init={system}/init a\n\n")
    };
    let text = format!(
        "# Generated file\nDEFAULT nixos-default\n\nMENU TITLE ----\nTIMEOUT 50\n\n{}{}",
        entry("nixos-2-default", OLD),
        entry("nixos-default", NEW)
    );
    root.write("/boot/extlinux/extlinux.conf", &text);
    assert_eq!(root.ask().0.early.pointers.boot_default, path(NEW));
    root.write("/boot/extlinux/extlinux.conf", &text.replace("nixos-default\n  MENU", "other\n "));
    assert_eq!(root.ask().0.early.pointers.boot_default, None, "it names none");
}

/// Lanzaboote's images of a generation and of its specialisations have one number.
#[test]
fn images_of_one_generation_are_not_told_apart() {
    let root = Root::new(TOOLS);
    fs::remove_dir_all(root.path("/boot/loader/entries")).expect("removed");
    let image = |name: &str, system: &str| {
        let text = format!("MZ\0\0.cmdline\0init={system}/init quiet\0\0\n\0");
        root.write(&format!("/boot/EFI/Linux/nixos-generation-{name}.efi"), &text);
    };
    root.loader("default nixos-*\n");
    image("1-abc", OLD);
    image("11-def", NEW);
    assert_eq!(root.ask().0.early.pointers.boot_default, path(NEW), "1 is not 11");
    image("11-specialisation-quiet-ghi", OLD);
    assert_eq!(root.ask().0.early.pointers.boot_default, None);
}

#[test]
fn a_variable_of_the_firmware_goes_before_every_file() {
    let root = Root::new(TOOLS);
    assert_eq!(root.ask().0.early.pointers.boot_default, path(NEW));
    let vendor = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    root.write(&format!("/sys/firmware/efi/efivars/LoaderEntryDefault-{vendor}"), "x");
    assert_eq!(root.ask().0.early.pointers.boot_default, None, "and no bootctl reads it");
}

#[test]
fn the_lock_of_a_switch_names_its_holder() {
    let root = Root::new(TOOLS);
    root.write("/run/nixos/switch-to-configuration.lock", "");
    assert_eq!(root.ask().0.switching, None, "the file alone is no lock");
    let lock = root.path("/run/nixos/switch-to-configuration.lock");
    let file = fs::OpenOptions::new().append(true).open(&lock).expect("opened");
    file.lock().expect("locked");
    let found = root.ask().0.switching.expect("held");
    assert_eq!(found.pid, std::process::id());
    assert!(!found.command.is_empty());
}

#[test]
fn what_an_interruption_left_is_found() {
    let root = Root::new(TOOLS);
    root.write("/run/nixdeploy/t1/owner", "olaf@desk\n");
    root.write("/run/nixdeploy/t1/phase", "commit\n");
    symlink("commit", root.path("/run/nixdeploy/t1/decision")).expect("decided");
    root.link("/run/nixdeploy/current", "/run/nixdeploy/t1");
    root.write("/run/nixos/start-list", "a.service\n");
    root.write("/run/nixos/reload-list", "");
    root.link("/nix/var/nix/gcroots/nixdeploy/t0-new", NEW);
    let (facts, _) = root.ask();
    assert_eq!(facts.early.guard, Guard::Busy);
    let held = facts.unfinished().expect("unfinished");
    assert_eq!((held.owner.as_str(), held.decision.as_str()), ("olaf@desk", "commit"));
    assert_eq!(facts.lists, ["start-list"]);
    assert_eq!(facts.roots, [("t0-new".to_owned(), NEW.to_owned())]);
    root.write("/run/nixdeploy/t1/outcome", "outcome=committed\n");
    assert_eq!(root.ask().0.early.guard, Guard::Done);
}

#[test]
fn a_rehearsal_takes_nothing_but_a_toplevel() {
    for bad in ["", "/etc", "/nix/store/../etc", "/nix/store/a/b", "$(touch canary)"] {
        let (lines, _) = run("sh", rehearse::SCRIPT, &[bad, "5"]);
        assert!(!lines.iter().any(|l| l.contains("_rc=")), "{bad}: {lines:?}");
    }
    assert!(!Path::new("canary").exists());
}
