//! A service without the protections that cost nothing.

use super::service::Service;
use super::walk::milder;
use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "missing-hardening",
    severity: Severity::Warn,
    flags: "a service with a command that lacks NoNewPrivileges, ProtectSystem, ProtectHome or \
            PrivateTmp",
    why: "These four keep a service that was broken into from the rest of the machine, and few \
          services notice them. Try them one by one: a service that writes outside of its state \
          directory needs ReadWritePaths. DynamicUser implies all four (systemd.exec(5)). A \
          oneshot service is only a note.",
    fixable: false,
    needs: &["systemd"],
    tops: &["systemd"],
    check: Check::Service(found),
    bad: &[
        "{ systemd.services.a.serviceConfig = { ExecStart = \"/x\"; User = \"a\"; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig = { ProtectSystem = \"strict\"; \
          ProtectHome = true; PrivateTmp = true; }; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.Type = \"oneshot\"; }; }",
    ],
    good: &[
        "{ systemd.services.a = { script = \"x\"; serviceConfig = { ProtectSystem = \"strict\"; \
          ProtectHome = true; PrivateTmp = true; NoNewPrivileges = true; }; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = true; }; }",
        "{ h, ... }: { systemd.services.a.serviceConfig = { ExecStart = \"/x\"; } // h; }",
        "let h = { NoNewPrivileges = true; ProtectSystem = \"full\"; ProtectHome = true; \
          PrivateTmp = true; }; in { systemd.services.a.serviceConfig = h // { ExecStart = \
          \"/x\"; }; }",
        "{ systemd.services.a.serviceConfig.Restart = \"always\"; }",
        "{ systemd.services.a = { enable = false; script = \"x\"; }; }",
        "{ systemd.user.services.a.script = \"x\"; }",
    ],
};

const WANTED: [&str; 4] = ["NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp"];

fn found(service: &Service) -> Option<Fault> {
    let implied = service.is_on("DynamicUser") || service.unknown("DynamicUser");
    if !service.judged() || implied {
        return None;
    }
    let missing: Vec<&str> =
        WANTED.iter().filter(|w| !service.settings.contains_key(**w)).copied().collect();
    if missing.is_empty() {
        return None;
    }
    let message = format!("{} lacks {}", service.shown(), missing.join(", "));
    let mut fault = RULE.fault(&service.at, message);
    fault.severity = milder(fault.severity, service.once() != Some(false));
    fault.keys = missing.iter().map(|m| format!("{} lacks {m}", service.shown())).collect();
    Some(fault)
}
