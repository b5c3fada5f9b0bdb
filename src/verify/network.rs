//! How the host reaches others, before and after.

use std::collections::BTreeSet;

use super::judge::{Expectation, finding};
use super::observe::Observed;
use crate::event::harmless;
use crate::fleet::Address;
use crate::plan::{Finding, Severity};

/// Addresses and names kept.
const MANY: usize = 64;

/// What `network.sh` found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The IPv4 default route, as `ip` shows it.
    pub route4: Option<String>,
    /// The IPv6 default route.
    pub route6: Option<String>,
    /// Global IPv4 addresses with their prefix.
    pub addresses: BTreeSet<String>,
    /// State of Tailscale's backend: `Running`, `Stopped`, `absent`, `timeout`.
    pub tailscale: Option<String>,
    /// Names that its name servers resolved.
    pub names: BTreeSet<String>,
}

impl Network {
    /// Takes in a line of the answer; false when it is none of ours.
    pub(super) fn take(&mut self, key: &str, value: &str) -> bool {
        let shown = Some(harmless::line(value.trim())).filter(|v| !v.is_empty());
        match key {
            "route4" => self.route4 = shown,
            "route6" => self.route6 = shown,
            "tailscale" => self.tailscale = shown,
            "address" if self.addresses.len() < MANY => self.addresses.extend(shown),
            "dns" if self.names.len() < MANY => {
                let Ok(name) = Address::new(value) else { return false };
                self.names.insert(name.to_string());
            }
            "address" | "dns" => {}
            _ => return false,
        }
        true
    }

    /// Whether Tailscale is connected.
    pub fn tailscale_up(&self) -> bool {
        self.tailscale.as_deref() == Some("Running")
    }
}

/// What worked before must work now; what did not is no news.
pub(super) fn judge(expect: &Expectation, seen: &Observed) -> Vec<Finding> {
    let (before, after) = (&expect.baseline.network, &seen.network);
    let found = [routes(before, after), dns(before, after), addresses(before, after)];
    found.into_iter().flatten().chain(tailscale(expect, after)).collect()
}

fn routes(before: &Network, after: &Network) -> Vec<Finding> {
    let mut found = Vec::new();
    if let (Some(was), None) = (&before.route4, &after.route4) {
        let message = format!("the IPv4 default route is gone (before: {was})");
        found.push(finding("default-route", Severity::Block, "network", message));
    }
    // router advertisements may take longer than any soak
    if let (Some(was), None) = (&before.route6, &after.route6) {
        let message = format!("the IPv6 default route is gone (before: {was})");
        found.push(finding("default-route", Severity::Warn, "network", message));
    }
    found
}

fn dns(before: &Network, after: &Network) -> Vec<Finding> {
    let lost: Vec<&str> = before.names.difference(&after.names).map(String::as_str).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let none = after.names.is_disjoint(&before.names);
    let severity = if none { Severity::Block } else { Severity::Warn };
    let message = format!("{} resolved before and no longer does", lost.join(", "));
    vec![finding("dns", severity, "resolver", message)]
}

fn addresses(before: &Network, after: &Network) -> Vec<Finding> {
    let lost: Vec<&str> =
        before.addresses.difference(&after.addresses).map(String::as_str).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let message = format!("no longer has {}", lost.join(", "));
    vec![finding("address", Severity::Warn, "network", message)]
}

fn tailscale(expect: &Expectation, after: &Network) -> Option<Finding> {
    let was_up = expect.baseline.network.tailscale_up();
    let wanted = expect.host.tailscale.unwrap_or(was_up);
    if !wanted || after.tailscale_up() {
        return None;
    }
    let state = after.tailscale.as_deref().unwrap_or("unknown");
    let before = if was_up { "it was up before" } else { "it was not up before either" };
    // hosts.toml may want it up although it never was: that cannot condemn this deploy
    let severity = if was_up { Severity::Block } else { Severity::Warn };
    Some(Finding {
        suggestion: Some(format!("ssh {} tailscale status", expect.host.name)),
        ..finding("tailscale", severity, "tailscale", format!("its state is {state}; {before}"))
    })
}
