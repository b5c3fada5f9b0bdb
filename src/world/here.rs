//! Which machine we are on, and who we are there.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

use crate::fleet::Sudo;

/// Whether an address of hosts.toml is this machine: a loopback, or one of its own addresses. A
/// name is only looked up if its first label is this machine's name, so that no run of a fleet
/// waits for a resolver; and only an address that can be bound to is ours, so that a machine of
/// the same name elsewhere is not.
pub fn is_here(address: &str, machine: &str) -> bool {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return ip.is_loopback() || ours(ip);
    }
    if address.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let label = |name: &str| name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    if machine.is_empty() || label(address) != label(machine) {
        return false;
    }
    let found = (address, 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect::<Vec<_>>());
    found.is_ok_and(|all| !all.is_empty() && all.into_iter().all(ours))
}

/// ip(7): binding to an address that no interface has fails.
fn ours(ip: IpAddr) -> bool {
    !ip.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
}

/// Here no login decides who we are, but our own user.
pub fn sudo(wanted: Sudo) -> Sudo {
    match wanted {
        Sudo::Never => Sudo::Never,
        Sudo::Auto | Sudo::Always if rustix::process::geteuid().is_root() => Sudo::Never,
        Sudo::Auto | Sudo::Always => Sudo::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_here() {
        assert!(is_here("127.0.0.1", "p620") && is_here("::1", "p620") && is_here("LOCALHOST", ""));
        assert!(!is_here("192.0.2.1", "p620") && !is_here("0.0.0.0", "p620"));
        // Another name is not even looked up, and one that leads nowhere is not ours.
        assert!(!is_here("razer", "p620") && !is_here("p620.invalid", "p620"));
    }
}
