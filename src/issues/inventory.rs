//! What the issues are held against: packages of two systems, modules, and what the hosts are.

use std::collections::BTreeMap;

/// Everything that is known of a fleet before and after an update.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// The clock, milliseconds since the epoch: ages are counted from it.
    pub now_ms: i64,
    /// The nixpkgs that the hosts run now.
    pub installed: Lock,
    /// The nixpkgs that they are to run; the same when nothing is to change.
    pub candidate: Lock,
    /// Packages, one entry for each pair of versions.
    pub packages: Vec<Package>,
    /// Paths of options without their `.enable`; `None`: nobody knows which are enabled.
    pub modules: Option<Vec<String>>,
    /// The hosts, by name; none: one that has no name and no known hardware.
    pub hosts: BTreeMap<String, Hardware>,
}

/// A revision of nixpkgs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Its `lastModified`, milliseconds since the epoch.
    pub modified_ms: Option<i64>,
    /// The release that it is of, `26.11`.
    pub release: Option<String>,
}

/// A package on some hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Its attribute in nixpkgs, where that is known.
    pub attr: Option<String>,
    /// Its name.
    pub pname: String,
    /// The version that runs; `None`: it is not there yet.
    pub installed: Option<String>,
    /// The version that is to run; `None`: it goes.
    pub candidate: Option<String>,
    /// The hosts that have it; none: all.
    pub hosts: Vec<String>,
    /// An overlay holds it where it is, whatever nixpkgs does.
    pub pinned: bool,
    /// It came with something else; nobody asked for it.
    pub dependency: bool,
}

/// What of a host's hardware decides whether an issue is about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Vendors or drivers of its graphics.
    pub gpu: Fact,
    /// Vendors, chips or drivers of its wireless network.
    pub wifi: Fact,
    /// `x86_64` or `x86_64-linux`.
    pub arch: Fact,
    /// Whether somebody sits before it; `None`: not known.
    pub desktop: Option<bool>,
}

/// Something that is known, known not to be there, or not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fact {
    /// Nobody said.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// This, in lower case.
    Words(String),
}

/// The name of the one host of an inventory without hosts.
pub const NAMELESS: &str = "*";

impl Inventory {
    /// All hosts; [`NAMELESS`] when none has a name.
    pub fn host_names(&self) -> Vec<&str> {
        let packages = self.packages.iter().flat_map(|p| &p.hosts);
        let mut names: Vec<&str> = self.hosts.keys().chain(packages).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { vec![NAMELESS] } else { names }
    }
}

impl Package {
    /// Whether the update moves it.
    pub fn moves(&self) -> bool {
        self.installed != self.candidate
    }

    /// Its name as people know it: the attribute without its set.
    pub fn shown(&self) -> &str {
        &self.pname
    }

    /// Whether a machine may not come back, or not be reached, when it is broken: kernel,
    /// firmware, init, boot loaders, file systems, the way into the network.
    pub fn is_boot_critical(&self) -> bool {
        let name = self.pname.as_str();
        BOOT_CRITICAL.contains(&name)
            || name.starts_with("linux-") && name != "linux-manual"
            || name.starts_with("zfs")
    }

    /// Whether it is a driver of the screen: as critical, where somebody looks at one.
    pub fn draws(&self) -> bool {
        ["mesa", "nvidia-x11", "nvidia_x11", "nvidia-open", "xorg-server", "amdvlk"]
            .contains(&self.pname.as_str())
    }
}

const BOOT_CRITICAL: [&str; 38] = [
    "linux",
    "linux-firmware",
    "microcode-amd",
    "microcode-intel",
    "intel-microcode",
    "systemd",
    "systemd-minimal",
    "grub",
    "grub2",
    "limine",
    "lanzaboote",
    "refind",
    "kmod",
    "glibc",
    "util-linux",
    "dbus",
    "dbus-broker",
    "btrfs-progs",
    "bcachefs-tools",
    "cryptsetup",
    "e2fsprogs",
    "dosfstools",
    "f2fs-tools",
    "lvm2",
    "mdadm",
    "multipath-tools",
    "xfsprogs",
    "networkmanager",
    "network-manager",
    "openssh",
    "wpa_supplicant",
    "iwd",
    "dhcpcd",
    "iproute2",
    "iptables",
    "nftables",
    "wireguard-tools",
    "tailscale",
];
