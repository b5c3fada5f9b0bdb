//! Who gets into a host and what it opens: the system that runs against the one that is to run,
//! from the files they are made of. Pure, and it never refuses.
//!
//! The lines come from `rehearse.sh`, which reads both closures on the host, so it is what a
//! configuration really does, whatever wrote it, and no evaluation is needed. What a closure does
//! not say (keys in a home folder, users made by hand, rules set by a service) is not judged: a
//! finding is told only when something that was there is gone, or something is open that was not.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Finding, Severity, harmless};
use crate::world::Output;

/// Names told of any one finding.
const MOST: usize = 12;
/// Largest port.
const PORTS: std::ops::RangeInclusive<u32> = 1..=65_535;

/// What a system opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposure {
    /// Units of sshd and of the firewall that are started.
    on: BTreeSet<String>,
    /// Options of sshd before any `Match`, in lower case; the first of a name counts, and of ports
    /// all do: sshd_config(5).
    ssh: BTreeMap<String, String>,
    ssh_ports: BTreeSet<u32>,
    /// How many keys each user has in `/etc/ssh/authorized_keys.d`.
    keys: BTreeMap<String, u32>,
    /// Rules of sudoers(5) that ask for no password.
    sudo: Vec<String>,
    users: BTreeSet<String>,
    wheel: BTreeSet<String>,
    /// `tcp 22`, `udp 1000-1010`: open on every interface.
    ports: BTreeSet<String>,
    units: BTreeMap<String, Service>,
}

/// A service whose rights are not as they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Service {
    user: Option<String>,
    dynamic: bool,
    once: bool,
    /// Protections that are on.
    protected: BTreeSet<&'static str>,
}

/// Both systems, the one that runs first; `None` where the host did not say all of it.
pub fn both(output: &Output) -> Option<(Exposure, Exposure)> {
    Some((read(output, "old")?, read(output, "new")?))
}

fn read(output: &Output, key: &str) -> Option<Exposure> {
    let mut exposure = Exposure::default();
    let mut complete = false;
    for line in &output.out {
        let Some(rest) = line.strip_prefix(key).and_then(|l| l.strip_prefix('.')) else { continue };
        let Some((what, value)) = rest.split_once('=') else { continue };
        match what {
            "on" => drop(exposure.on.insert(value.to_owned())),
            "ssh" => exposure.option(value),
            "keys" => {
                let told = value.rsplit_once(' ').map(|(u, n)| (u.to_owned(), n.parse()));
                if let Some((user, Ok(count))) = told {
                    exposure.keys.insert(user, count);
                }
            }
            "sudo" => exposure.sudo.push(value.trim().to_owned()),
            "user" => drop(exposure.users.insert(value.to_owned())),
            "wheel" => {
                let names = value.split(',').map(|n| n.trim_matches('"').to_owned());
                exposure.wheel.extend(names.filter(|n| !n.is_empty()));
            }
            "port" => exposure.ports.extend(opened(value)),
            "unit" => exposure.unit(value),
            "end" => complete = true,
            _ => {}
        }
    }
    complete.then_some(exposure)
}

impl Exposure {
    fn option(&mut self, line: &str) {
        let (name, value) = line.trim().split_once([' ', '\t', '=']).unwrap_or((line.trim(), ""));
        let (name, value) = (name.to_ascii_lowercase(), value.trim().trim_matches('"'));
        if name == "port" {
            self.ssh_ports.extend(value.parse().ok().filter(|p| PORTS.contains(p)));
        }
        self.ssh.entry(name).or_insert_with(|| value.to_owned());
    }

    fn unit(&mut self, line: &str) {
        let mut words = line.split(' ');
        let Some(name) = words.next().and_then(|n| n.strip_suffix(".service")) else { return };
        let mut service = Service::default();
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "User" => service.user = Some(value.to_owned()).filter(|u| !u.is_empty()),
                "DynamicUser" => service.dynamic = yes(value),
                "Type" => service.once = value == "oneshot",
                _ => {
                    let known = ["NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp"];
                    if let Some(known) = known.into_iter().find(|k| *k == key) {
                        service.protected.remove(known);
                        if !matches!(value, "false" | "no" | "off" | "0" | "") {
                            service.protected.insert(known);
                        }
                    }
                }
            }
        }
        self.units.insert(name.to_owned(), service);
    }

    fn sshd(&self) -> bool {
        self.on.iter().any(|u| u.starts_with("sshd."))
    }

    /// Every rule set that NixOS starts: iptables or nftables.
    fn firewall(&self) -> bool {
        self.on.iter().any(|u| u == "firewall.service" || u == "nftables.service")
    }

    /// What sshd makes of an option: its own default where it is not written.
    fn ssh(&self, name: &str) -> String {
        let default = match name {
            "permitrootlogin" => "prohibit-password",
            "passwordauthentication" => "yes",
            _ => "",
        };
        self.ssh.get(name).map_or(default, String::as_str).to_ascii_lowercase()
    }

    /// Whether a user becomes root without a password.
    fn elevates(&self, user: &str) -> bool {
        let wheel = self.wheel.contains(user);
        let whose = |rule: &String| rule.split_whitespace().next().unwrap_or_default().to_owned();
        self.sudo
            .iter()
            .map(whose)
            .any(|w| w == user || w == "ALL" || (w == "%wheel" && (wheel || self.wheel.is_empty())))
    }
}

fn yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1")
}

impl Service {
    fn root(&self) -> bool {
        !self.dynamic && self.user.as_deref().is_none_or(|u| u == "root" || u == "0")
    }
}

/// The ports that a rule of iptables or nftables opens on every interface.
fn opened(rule: &str) -> Vec<String> {
    let words: Vec<&str> =
        rule.split([' ', '\t', '{', '}', ',', '"', ';']).filter(|w| !w.is_empty()).collect();
    let scoped = ["iifname", "iif", "-i", "-s", "saddr", "daddr", "-d", "!="];
    let accepts = words.iter().any(|w| w.to_ascii_lowercase().ends_with("accept"));
    let Some(at) = words.iter().position(|w| *w == "dport" || *w == "--dport") else {
        return Vec::new();
    };
    if !accepts || words.iter().any(|w| scoped.contains(w)) {
        return Vec::new();
    }
    let protocols = ["tcp", "udp"].into_iter().filter(|p| words.contains(p));
    let protocols: Vec<&str> = protocols.collect();
    let port = |word: &&&str| {
        let mut ends = word.split(['-', ':']);
        ends.all(|end| end.parse::<u32>().is_ok_and(|p| PORTS.contains(&p)))
    };
    let ports = words[at + 1..].iter().take_while(port);
    ports
        .flat_map(|w| protocols.iter().map(move |p| format!("{p} {}", w.replace(':', "-"))))
        .collect()
}

/// What is worth a warning before the new system is let loose; `login` is who deploys, if that is
/// known.
pub fn findings(old: &Exposure, new: &Exposure, login: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    locked_out(old, new, login, &mut found);
    opened_up(old, new, &mut found);
    of_services(old, new, &mut found);
    found
}

/// A warning; the option is part of what is read of it everywhere.
fn warn(code: &str, subject: &str, message: impl Into<String>, option: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: Severity::Warn,
        subject: harmless::line(subject),
        message: harmless::line(&format!("{} ({option})", message.into())),
        suggestion: None,
    }
}

fn locked_out(old: &Exposure, new: &Exposure, login: Option<&str>, found: &mut Vec<Finding>) {
    if old.sshd() && !new.sshd() {
        let message = "sshd is not started any more: nobody gets in over ssh";
        found.push(warn("lockout-sshd", "sshd", message, "services.openssh.enable = true"));
        return;
    }
    let (before, after) = (&old.ssh_ports, &new.ssh_ports);
    if !before.is_empty() && !after.is_empty() && before.is_disjoint(after) {
        let message = format!("sshd moves from port {} to {}", list(before), list(after));
        found.push(warn("ssh-port", "sshd", message, "services.openssh.ports"));
    }
    let Some(login) = login else { return };
    let root = login == "root";
    if root && old.ssh("permitrootlogin") != "no" && new.ssh("permitrootlogin") == "no" {
        let option = "services.openssh.settings.PermitRootLogin";
        let message = "root, who deploys, may not log in any more";
        found.push(warn("lockout-root", "sshd", message, option));
    }
    let keys = |e: &Exposure| e.keys.get(login).copied().unwrap_or(0);
    if keys(old) > 0 && keys(new) == 0 {
        let message = format!("{login}, who deploys, has no key in the configuration any more");
        let option = format!("users.users.{login}.openssh.authorizedKeys.keys");
        found.push(warn("lockout-key", login, message, &option));
    }
    if old.users.contains(login) && !new.users.is_empty() && !new.users.contains(login) {
        let message = format!("{login}, who deploys, is no user any more");
        found.push(warn("lockout-user", login, message, &format!("users.users.{login}")));
    }
    if !root && old.elevates(login) && !new.elevates(login) {
        let message =
            format!("{login}, who deploys, cannot become root without a password any more");
        let option = "security.sudo.wheelNeedsPassword, security.sudo.extraRules";
        found.push(warn("lockout-sudo", login, message, option));
    }
}

fn opened_up(old: &Exposure, new: &Exposure, found: &mut Vec<Finding>) {
    if old.firewall() && !new.firewall() {
        let message = "the firewall is not started any more: every port is open";
        found.push(warn("firewall-disabled", "firewall", message, "networking.firewall.enable"));
    } else if new.firewall() && old.firewall() {
        let more: Vec<&String> = new.ports.difference(&old.ports).collect();
        if !more.is_empty() {
            let message = format!("open on every interface, and was not before: {}", list(&more));
            let option = "networking.firewall, for one interface below interfaces.NAME";
            found.push(warn("firewall-port-opened", "firewall", message, option));
        }
    }
    if !new.sshd() {
        return;
    }
    let became = |name: &str| new.ssh(name) == "yes" && !(old.sshd() && old.ssh(name) == "yes");
    if became("permitrootlogin") {
        let option = "services.openssh.settings.PermitRootLogin = \"prohibit-password\"";
        found.push(warn("ssh-root-login", "sshd", "root may log in with a password", option));
    }
    if became("passwordauthentication") {
        let option = "services.openssh.settings.PasswordAuthentication = false";
        found.push(warn("ssh-password-auth", "sshd", "sshd takes passwords", option));
    }
}

fn of_services(old: &Exposure, new: &Exposure, found: &mut Vec<Finding>) {
    let mut roots = Vec::new();
    let mut lost = Vec::new();
    for (name, service) in &new.units {
        let before = old.units.get(name);
        let new_root = service.root() && !service.once && before.is_none_or(|b| !b.root());
        if new_root {
            roots.push(name.as_str());
        }
        let missing: Vec<&str> = before
            .map(|b| b.protected.difference(&service.protected).copied().collect())
            .unwrap_or_default();
        if !missing.is_empty() {
            lost.push(format!("{name} ({})", missing.join(", ")));
        }
    }
    if !roots.is_empty() {
        let message = format!("runs as root, and did not before: {}", list(&roots));
        let option = "serviceConfig.User, DynamicUser";
        found.push(warn("service-runs-as-root", "services", message, option));
    }
    if !lost.is_empty() {
        let message = format!("less protected than before: {}", list(&lost));
        found.push(warn("missing-hardening", "services", message, "serviceConfig"));
    }
}

/// The first few, and how many more.
fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| n.to_string()).collect();
    let more = names.len().saturating_sub(MOST);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Ended;

    fn exposure(text: &str) -> Exposure {
        let out = text.lines().map(|l| format!("new.{l}")).chain(["new.end=0".to_owned()]);
        let output = Output { ended: Ended::Exited(0), out: out.collect(), err: Vec::new() };
        read(&output, "new").expect("complete")
    }

    fn codes(old: &str, new: &str, login: &str) -> Vec<String> {
        let found = findings(&exposure(old), &exposure(new), Some(login));
        found.into_iter().map(|f| f.code).collect()
    }

    const GOOD: &str = "on=sshd.service\non=firewall.service\nssh=Port 22\nssh=PermitRootLogin no\n\
        ssh=PasswordAuthentication no\nkeys=admin 2\nuser=admin\nuser=root\nwheel=\"admin\"\n\
        sudo=%wheel  ALL=(ALL:ALL)    NOPASSWD:SETENV: ALL\nport=tcp dport 22 accept\n\
        unit=web.service User=web NoNewPrivileges=true ProtectSystem=strict";

    #[test]
    fn the_same_says_nothing_and_each_loss_has_its_name() {
        assert_eq!(codes(GOOD, GOOD, "admin"), [""; 0]);
        let without = |what: &str| GOOD.replace(what, "");
        let with = |what: &str| format!("{GOOD}\n{what}");
        for (new, code) in [
            (without("on=sshd.service"), "lockout-sshd"),
            (GOOD.replace("Port 22", "Port 2222"), "ssh-port"),
            (without("keys=admin 2"), "lockout-key"),
            (without("user=admin"), "lockout-user"),
            (without("wheel=\"admin\"").replace("user=root", "wheel=\"eve\""), "lockout-sudo"),
            (GOOD.replace("NOPASSWD:", ""), "lockout-sudo"),
            (without("on=firewall.service"), "firewall-disabled"),
            (with("port=tcp dport { 22, 8080 } accept"), "firewall-port-opened"),
            (GOOD.replace("RootLogin no", "RootLogin yes"), "ssh-root-login"),
            (without("ssh=PasswordAuthentication no"), "ssh-password-auth"),
            (with("unit=a.service Type=simple"), "service-runs-as-root"),
            (GOOD.replace("User=web", "User=root"), "service-runs-as-root"),
            (GOOD.replace("ProtectSystem=strict", "ProtectSystem=false"), "missing-hardening"),
        ] {
            let new = match code {
                "lockout-sudo" => new.replace("sudo=%wheel  ALL=(ALL:ALL)    SETENV: ALL", ""),
                _ => new,
            };
            assert_eq!(codes(GOOD, &new, "admin"), [code], "{new}");
        }
        let no = GOOD.replace("RootLogin no", "RootLogin prohibit-password");
        assert_eq!(codes(&no, GOOD, "root"), ["lockout-root"]);
        assert_eq!(
            codes(GOOD, &format!("{GOOD}\nunit=a.service DynamicUser=yes"), "admin"),
            [""; 0]
        );
        assert_eq!(codes(GOOD, &format!("{GOOD}\nunit=a.service Type=oneshot"), "admin"), [""; 0]);
    }

    #[test]
    fn rules_of_both_firewalls_are_read() {
        for (rule, ports) in [
            ("ip46tables -A nixos-fw -p tcp --dport 22 -j nixos-fw-accept ", &["tcp 22"][..]),
            (
                "ip46tables -A nixos-fw -p udp --dport 60000:61000 -j nixos-fw-accept",
                &["udp 60000-61000"],
            ),
            ("ip46tables -A nixos-fw -p tcp --dport 80 -j nixos-fw-accept -i eth0", &[]),
            ("tcp dport { 22, 80-90 } accept", &["tcp 22", "tcp 80-90"]),
            ("iifname \"tailscale0\" tcp dport 22 accept", &[]),
            ("tcp dport 22 drop", &[]),
            ("tcp dport ssh accept", &[]),
            ("tcp dport 99999 accept", &[]),
            ("tcp dport", &[]),
        ] {
            assert_eq!(opened(rule), ports, "{rule}");
        }
    }

    #[test]
    fn what_breaks_off_is_not_judged_and_nothing_of_it_can_be_obeyed() {
        let out = vec!["old.end=0".to_owned(), "new.on=sshd.service".to_owned()];
        assert_eq!(both(&Output { ended: Ended::Exited(0), out, err: Vec::new() }), None);
        let new = format!("{GOOD}\nunit=a\u{1b}[31m.service Type=simple");
        let found = findings(&exposure(GOOD), &exposure(&new), None);
        assert!(found.iter().all(|f| !f.message.contains('\u{1b}')), "{found:?}");
    }
}
