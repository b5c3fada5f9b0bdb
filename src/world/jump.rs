//! Hosts on the way to a host: the `ProxyCommand` that leads through them.
//!
//! ssh's own `-J` hands none of our options on, so a hop could ride on a master of the person's
//! configuration and prove nothing (ssh_config(5), ProxyJump). So each hop is an ssh of its own,
//! without masters and with strict host keys, that connects its standard input and output to the
//! next one (`-W`, ssh(1)).

use super::invocation::quote;
use super::ssh::EVERYWHERE;
use crate::fleet::Hop;

/// Options of every hop on the way. `-W` itself clears all other forwardings. The level is the one
/// at which ssh says why the next host could not be reached.
const OPTIONS: [&str; 3] = ["ControlMaster=no", "ControlPath=none", "LogLevel=INFO"];

/// The command for ssh's `ProxyCommand`; `None`: the host is reached directly. ssh puts the next
/// host in for `%h` and `%p`, once for each hop that lies around it.
pub fn proxy_command(hops: &[Hop]) -> Option<String> {
    let mut way: Option<String> = None;
    for hop in hops {
        let mut words: Vec<String> = vec!["ssh".to_owned()];
        let options = OPTIONS.iter().chain(&EVERYWHERE).map(|o| (*o).to_owned());
        let nearer = way.take().map(|w| format!("ProxyCommand={}", w.replace('%', "%%")));
        for option in options.chain(nearer) {
            words.extend(["-o".to_owned(), option]);
        }
        words.extend(["-W", "[%h]:%p"].map(str::to_owned));
        if let Some(user) = &hop.user {
            words.extend(["-l".to_owned(), user.to_string()]);
        }
        words.extend(["--".to_owned(), hop.address.to_string()]);
        way = Some(words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" "));
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Address;

    fn hop(address: &str) -> Hop {
        Hop { user: None, address: Address::new(address).expect("address") }
    }

    #[test]
    fn a_host_without_hops_needs_no_command() {
        assert_eq!(proxy_command(&[]), None);
    }

    #[test]
    fn the_hop_next_to_the_host_is_the_outermost_command() {
        let one = proxy_command(&[hop("gate")]).expect("a command");
        assert!(one.starts_with("ssh -o ControlMaster=no -o ControlPath=none"), "{one}");
        assert!(one.ends_with("-W '[%h]:%p' -- gate"), "{one}");
        let two = proxy_command(&[hop("gate"), hop("inner")]).expect("a command");
        assert!(two.ends_with("-W '[%h]:%p' -- inner"), "{two}");
        // Left for the ssh to `inner`, which knows that host and its port.
        assert!(two.contains("[%%h]:%%p") && two.contains("-- gate"), "{two}");
    }
}
