//! What a title tells of the harm, and of the hardware it was seen on.

use super::inventory::{Fact, Hardware};
use super::title::{Title, Token};

/// The harm that a title tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Harm {
    /// The machine does not come up.
    pub(super) boot: bool,
    /// Data is lost.
    pub(super) data: bool,
    /// Something crashes, hangs or does not work at all.
    pub(super) grave: bool,
    /// The network, its names, or the way in.
    pub(super) network: bool,
}

/// Phrases of a machine that does not come up; a word ends with `*` where others may follow.
const NO_BOOT: [&str; 26] = [
    "not boot*",
    "n't boot*",
    "cannot boot*",
    "cant boot*",
    "can't boot*",
    "unbootable",
    "no longer boot*",
    "never boot*",
    "fails to boot*",
    "fail to boot*",
    "failed to boot*",
    "failing to boot*",
    "unable to boot*",
    "refuses to boot*",
    "boot loop*",
    "bootloop*",
    "boot fail*",
    "breaks boot*",
    "broke boot*",
    "broken boot*",
    "boot broken",
    "boot breaks",
    "brick*",
    "emergency mode",
    "emergency shell",
    "prevents boot*",
];
/// Harm that is of the machine's start when it is told together with it.
const STOPS: [&str; 16] = [
    "freez*",
    "frozen",
    "hang*",
    "hung",
    "panic*",
    "crash*",
    "stuck",
    "black screen",
    "blank screen",
    "lockup*",
    "deadlock*",
    "infinite loop",
    "timeout*",
    "times out",
    "timed out",
    "reboot*",
];
const START: [&str; 12] = [
    "boot",
    "booting",
    "boots",
    "bootup",
    "stage 1",
    "stage-1",
    "stage 2",
    "initrd",
    "startup",
    "luks",
    "grub",
    "bootloader",
];
/// What does not boot there is another machine.
const OTHERS: [&str; 13] = [
    "vm",
    "vms",
    "guest*",
    "microvm*",
    "container*",
    "iso",
    "installer*",
    "netboot*",
    "virtual",
    "live",
    "usb",
    "nspawn",
    "image*",
];
const LOSS: [&str; 14] = [
    "data loss",
    "lose data",
    "loses data",
    "losing data",
    "lost data",
    "corrupt*",
    "destroys*",
    "wipes*",
    "wiped",
    "data lost",
    "truncates",
    "overwrites",
    "erases",
    "loss of data",
];
const GRAVE: [&str; 69] = [
    "crash*",
    "segfault*",
    "sigsegv",
    "sigabrt",
    "core dump*",
    "coredump*",
    "hang*",
    "hung",
    "hard-hang*",
    "freez*",
    "frozen",
    "panic*",
    "deadlock*",
    "unusable",
    "unresponsive",
    "broken",
    "broke",
    "breaks",
    "breaking",
    "break",
    "black screen",
    "blank screen",
    "white screen",
    "not start*",
    "n't start*",
    "fails to start*",
    "fail to start*",
    "failed to start*",
    "failing to start*",
    "cannot start*",
    "can't start*",
    "fails to launch*",
    "not launch*",
    "n't launch*",
    "fails to run",
    "not run",
    "n't run",
    "fails to open",
    "fails to load",
    "not work*",
    "n't work*",
    "stopped working",
    "stops working",
    "no longer work*",
    "no longer start*",
    "never start*",
    "infinite loop",
    "crash loop",
    "restart loop",
    "stuck",
    "lockup*",
    "locks up",
    "abort*",
    "killed",
    "oom",
    "gone",
    "lost",
    "stop resolving",
    "locked out",
    "locks me out",
    "locks out",
    "rejected",
    "rejects",
    "refused",
    "miscompile*",
    "kills",
    "unable to start*",
    "dies",
    "regression",
];
const NETWORK: [&str; 28] = [
    "dns",
    "nameserver*",
    "resolving",
    "resolve",
    "resolver",
    "network",
    "networking",
    "networkd",
    "wifi",
    "wi-fi",
    "wlan",
    "ethernet",
    "dhcp*",
    "ssh",
    "sshd",
    "route",
    "routes",
    "routing",
    "connection",
    "connections",
    "connectivity",
    "unreachable",
    "offline",
    "firewall",
    "internet",
    "ipv4",
    "ipv6",
    "login",
];

impl Harm {
    /// Reads a title.
    pub(super) fn of(title: &Title) -> Self {
        let words: Vec<String> = title.words.iter().map(Token::lower).collect();
        // `isn't` comes as `isn` and `t`; phrases with `n't` are told by the apostrophe's absence.
        let mut text = format!(" {} ", words.join(" "));
        for short in ["don", "doesn", "won", "can", "didn", "isn", "couldn", "wouldn"] {
            text = text.replace(&format!(" {short} t "), &format!(" {short} n't "));
        }
        let has = |phrases: &[&str]| phrases.iter().any(|p| says(&text, p));
        let elsewhere = has(&OTHERS);
        let boot = has(&NO_BOOT) || has(&STOPS) && has(&START);
        Self {
            boot: boot && !elsewhere,
            data: has(&LOSS),
            grave: has(&GRAVE) || boot || has(&LOSS),
            network: has(&NETWORK),
        }
    }
}

/// Whether a text of words, blanks around each, holds a phrase.
fn says(text: &str, phrase: &str) -> bool {
    match phrase.strip_suffix('*') {
        Some(begin) => text.contains(&format!(" {begin}")),
        None => text.contains(&format!(" {phrase} ")),
    }
}

/// How an issue's hardware fits a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It is the host's, or no hardware is named, or nobody knows the host's.
    Fits,
    /// It is of one kind of machine, and nobody knows whether the host is one.
    Narrow,
    /// The host has other hardware.
    Other,
}

/// Words of hardware: what they are looked for in, and what the host then has.
const GPUS: [(&[&str], &[&str]); 3] = [
    (
        &["amdgpu", "radeon*", "amd", "navi*", "rdna*", "gfx1*", "gfx9*", "radeonsi", "radv"],
        &["amd", "radeon", "ati"],
    ),
    (
        &["nvidia*", "geforce*", "rtx*", "gtx*", "nouveau", "optimus", "cuda"],
        &["nvidia", "nouveau"],
    ),
    (
        &["i915", "intel igpu*", "igpus", "intel gpu*", "intel graphics", "intel arc", "intel xe"],
        &["intel", "i915", "xe"],
    ),
];
const RADIOS: [(&[&str], &[&str]); 5] = [
    (&["iwlwifi", "ax200", "ax201", "ax210", "ax211", "be200", "intel wifi"], &["iwl", "intel"]),
    (&["mt76*", "mt79*", "mediatek"], &["mt76", "mt79", "mediatek"]),
    (&["rtw8*", "rtw89*", "rtl8*", "realtek"], &["rtw", "rtl", "realtek"]),
    (&["ath9k", "ath10k", "ath11k", "ath12k", "atheros", "qca*"], &["ath", "qca", "qualcomm"]),
    (&["brcmfmac", "brcm*", "broadcom*"], &["brcm", "broadcom"]),
];
const ARCHES: [(&[&str], &[&str]); 4] = [
    (&["aarch64*", "arm64", "raspberry", "rpi*", "apple silicon", "asahi"], &["aarch64", "arm64"]),
    (&["riscv*", "risc-v"], &["riscv"]),
    (&["i686*", "32bit", "32-bit", "x86-32"], &["i686"]),
    (&["armv7*", "armv6*"], &["armv"]),
];
/// Kinds of machines, of which nobody tells us whether a host is one.
const MODELS: [&str; 40] = [
    "haswell",
    "broadwell",
    "ivybridge",
    "sandybridge",
    "skylake",
    "meteor lake",
    "lunar lake",
    "arrow lake",
    "macbook*",
    "imac",
    "mac mini",
    "thinkpad*",
    "x1 carbon",
    "ideapad*",
    "yoga*",
    "legion*",
    "framework",
    "surface",
    "steam deck",
    "steamdeck",
    "xps",
    "latitude",
    "zenbook*",
    "vivobook*",
    "rog",
    "zephyrus",
    "elitebook*",
    "pavilion",
    "omen",
    "chromebook*",
    "galaxy book",
    "t480*",
    "x220",
    "x230",
    "nuc",
    "strix",
    "phoenix",
    "polaris",
    "tuxedo*",
    "inspiron",
];

/// How the hardware that a title names fits a host.
pub(super) fn fit(title: &Title, host: &Hardware) -> Fit {
    let words: Vec<String> = title.behind().iter().map(Token::lower).collect();
    let text = format!(" {} ", words.join(" "));
    let kinds = [(&GPUS[..], &host.gpu), (&RADIOS[..], &host.wifi), (&ARCHES[..], &host.arch)];
    let mut fit = match MODELS.iter().any(|m| says(&text, m)) {
        true => Fit::Narrow,
        false => Fit::Fits,
    };
    for (table, fact) in kinds {
        let named: Vec<_> =
            table.iter().filter(|(words, _)| words.iter().any(|w| says(&text, w))).collect();
        let ours = |has: &str| named.iter().any(|(_, ours)| ours.iter().any(|o| has.contains(o)));
        let other = match fact {
            Fact::Unknown => false,
            Fact::Absent => true,
            Fact::Words(has) => !ours(has),
        };
        if !named.is_empty() && other {
            fit = Fit::Other;
        }
    }
    fit
}

/// Whether a title is about another operating system alone.
pub(super) fn is_elsewhere(title: &Title) -> bool {
    let words: Vec<String> = title.words.iter().map(Token::lower).collect();
    let text = format!(" {} ", words.join(" "));
    let elsewhere =
        ["darwin", "macos", "osx", "mac os", "*-darwin", "non-nixos", "wsl", "freebsd", "ubuntu"];
    let here = ["linux", "nixos", "x86_64-linux", "aarch64-linux"];
    let darwin = words.iter().any(|w| w.ends_with("-darwin"));
    (darwin || elsewhere.iter().any(|w| says(&text, w))) && !here.iter().any(|w| says(&text, w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harm(title: &str) -> Harm {
        Harm::of(&Title::read(title))
    }

    #[test]
    fn a_machine_that_does_not_come_up_is_told_apart() {
        for title in [
            "linux: does not boot",
            "x won't boot",
            "Nixos no longer boots since kernel 6.17",
            "unbootable system",
            "systemd: bootloop",
            "freezes during boot with amdgpu",
            "stuck at stage 1",
            "x: drops to emergency mode",
            "x bricks machine",
            "[kernel] 6.16.9 - x1 carbon not booting",
        ] {
            assert!(harm(title).boot, "{title}");
        }
        for title in ["x: wrong boot logo", "qemu: guest does not boot", "x crashes", ""] {
            assert!(!harm(title).boot, "{title}");
        }
        assert!(harm("zfs: corrupts data").data && harm("x: doesn't work").grave);
        assert!(harm("resolved: DNS broken").network && !harm("x: wrong colour").grave);
    }

    #[test]
    fn hardware_is_held_against_the_host() {
        let host = Hardware {
            gpu: Fact::Words("intel".to_owned()),
            wifi: Fact::Absent,
            arch: Fact::Words("x86_64-linux".to_owned()),
            desktop: Some(true),
        };
        for (title, expected) in [
            ("mesa: hangs on amdgpu", Fit::Other),
            ("mesa: hangs Intel iGPUs (i915)", Fit::Fits),
            ("mesa: hangs on amdgpu and i915", Fit::Fits),
            ("linux: no wifi with mt7925e", Fit::Other),
            ("linux: no boot on aarch64-linux", Fit::Other),
            ("linux: no boot on Haswell", Fit::Narrow),
            ("nvidia_x11: black screen", Fit::Fits),
            ("linux: no boot", Fit::Fits),
        ] {
            assert_eq!(fit(&Title::read(title), &host), expected, "{title}");
            let unknown = fit(&Title::read(title), &Hardware::default());
            assert!(unknown < Fit::Other, "{title}");
        }
    }

    #[test]
    fn other_systems_are_elsewhere() {
        for title in ["x: broken on macOS", "x: fails on aarch64-darwin", "x on non-NixOS"] {
            assert!(is_elsewhere(&Title::read(title)), "{title}");
        }
        assert!(!is_elsewhere(&Title::read("x: broken on linux and darwin")));
    }
}
