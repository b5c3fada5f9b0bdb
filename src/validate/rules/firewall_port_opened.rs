//! A port that is opened to every network.

use rnix::ast::Expr;
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::{Definition, Literal, Resolver};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "firewall-port-opened",
    severity: Severity::Warn,
    flags: "a port that is opened on all interfaces, and was not open before",
    why: "A port in `networking.firewall.allowed...` or an `openFirewall = true` is open to every \
          network. Ports that the base revision opened already are only notes, wherever they \
          stand. `networking.firewall.interfaces.NAME` opens a port to one network and is no \
          finding.",
    fixable: false,
    needs: &["openFirewall", "allowedTCPPort", "allowedUDPPort"],
    tops: &[],
    check: Check::Option(found),
    bad: &[
        "{ networking.firewall.allowedTCPPorts = [ 80 443 ]; }",
        "{ lib, ... }: { networking.firewall = { allowedUDPPorts = lib.mkForce [ 53 ]; }; }",
        "{ networking.firewall.allowedTCPPortRanges = [ { from = 1; to = 2; } ]; }",
        "{ services.jellyfin.openFirewall = true; }",
        "let port = 8080; in { networking.firewall.allowedTCPPorts = [ port ] ++ [ 22 ]; }",
    ],
    good: &[
        "{ networking.firewall.interfaces.lan.allowedTCPPorts = [ 80 ]; }",
        "{ networking.firewall.allowedTCPPorts = [ ]; }",
        "{ lib, ... }: { networking.firewall.allowedTCPPorts = lib.mkForce [ ]; }",
        "{ lib, cfg, ... }: { networking.firewall = lib.mkIf cfg.openFirewall { allowedTCPPorts = \
          [ 80 ]; }; }",
        "{ lib, cfg, ... }: { networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall \
          80; }",
        "{ cfg, ... }: { networking.firewall.allowedTCPPorts = [ cfg.port ]; }",
        "{ services.a.openFirewall = false; }",
        "{ lib, ... }: { options.a.openFirewall = true; b.options.openFirewall = 1; }",
        "{ services.a = { enable = false; openFirewall = true; }; }",
    ],
};

const LISTS: [&str; 4] =
    ["allowedTCPPorts", "allowedUDPPorts", "allowedTCPPortRanges", "allowedUDPPortRanges"];

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let last = definition.path.last()?.shown();
    if last == "openFirewall" && definition.path.len() > 1 {
        let on = file.resolver.boolean(definition.value) == Some(true);
        let message = format!("{} opens ports to every network", definition.shown());
        return on.then(|| told(definition, message, vec![definition.shown()]));
    }
    let list = definition.is(&["networking", "firewall", "*"]) && LISTS.contains(&last);
    if !list || definition.conditions.iter().any(asks) {
        return None;
    }
    let elements = file.resolver.elements(definition.value);
    let ports: Vec<String> = elements.iter().filter_map(|e| port(file.resolver, e)).collect();
    if ports.is_empty() {
        return None;
    }
    let protocol = if last.contains("TCP") { "TCP" } else { "UDP" };
    let message = format!("opens {protocol} {} to every network", ports.join(", "));
    let keys = ports.iter().map(|port| format!("{} {port}", definition.shown())).collect();
    Some(told(definition, message, keys))
}

fn told(definition: &Definition<'_>, message: String, keys: Vec<String>) -> Fault {
    let mut fault = RULE.fault(definition.at, message);
    fault.keys = keys;
    fault
}

/// Whether a condition is the module's own `openFirewall`: its user decides.
fn asks(condition: &Expr) -> bool {
    condition.syntax().text().to_string().contains("openFirewall")
}

/// A port, or a range of them.
fn port(resolver: &Resolver, element: &Expr) -> Option<String> {
    if let Some(Literal::Whole(port)) = resolver.literal(element) {
        return Some(port.to_string());
    }
    let end = |name: &str| match resolver.literal(&resolver.member(element, &[name.to_owned()])?) {
        Some(Literal::Whole(port)) => Some(port),
        _ => None,
    };
    Some(format!("{}-{}", end("from")?, end("to")?))
}
