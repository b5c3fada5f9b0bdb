//! A service that runs as root because nobody said otherwise.

use super::service::Service;
use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "service-implicit-root",
    severity: Severity::Warn,
    flags: "a service with a command and neither User nor DynamicUser",
    why: "Without User and DynamicUser systemd runs it as root. Name a user of its own, or say \
          `DynamicUser = true;`. Nothing is told of overrides of services that other modules \
          define (they have no command here), nor where a part of the service comes from \
          elsewhere.",
    fixable: false,
    needs: &["systemd"],
    tops: &["systemd"],
    check: Check::Service(found),
    bad: &[
        "{ systemd.services.a.serviceConfig.ExecStart = \"/x\"; }",
        "{ pkgs, ... }: { systemd.services.a = { wantedBy = [ ]; script = ''x''; }; }",
        "let h = { PrivateTmp = true; }; in { systemd.services.a.serviceConfig = h // { ExecStart \
          = \"/x\"; }; }",
        "{ lib, c, ... }: { systemd.services = lib.mkIf c { a = lib.mkMerge [ { script = \"x\"; } \
          ]; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = false; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.Type = \"oneshot\"; }; }",
    ],
    good: &[
        "{ systemd.services.a.serviceConfig = { ExecStart = \"/x\"; User = \"a\"; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = true; }; }",
        "{ systemd.services.a.serviceConfig.Restart = \"always\"; }",
        "{ systemd.services.a = { enable = false; script = \"x\"; }; }",
        "{ h, ... }: { systemd.services.a.serviceConfig = h // { ExecStart = \"/x\"; }; }",
        "{ h, ... }: { systemd.services.a.serviceConfig = { ExecStart = \"/x\"; } // h; }",
        "let h = { User = \"a\"; }; in { systemd.services.a.serviceConfig = h // { ExecStart = \
          \"/x\"; }; }",
        "{ lib, f, ... }: { systemd.services = lib.mkMerge [ { a.script = \"x\"; } (f 1) ]; }",
        "{ systemd.user.services.a.script = \"x\"; }",
        "{ n, ... }: { systemd.services.${n}.script = \"x\"; }",
        "{ lib, ... }: { systemd.services = lib.genAttrs [ ] (n: { script = \"x\"; }); }",
        "{ systemd.user.services.a.Service.ExecStart = \"/x\"; }",
        "{ cfg, ... }: { systemd.services.a = { script = \"x\"; serviceConfig.User = cfg.user; }; \
          }",
        "{ systemd.services.a.script = \"x\"; systemd.services = { a.serviceConfig.User = \"a\"; \
          }; }",
    ],
};

fn found(service: &Service) -> Option<Fault> {
    let settings = &service.settings;
    let named = settings.contains_key("User");
    let dynamic = service.is_on("DynamicUser") || service.unknown("DynamicUser");
    if !service.judged() || named || dynamic {
        return None;
    }
    let message = format!("{} runs as root: it has neither User nor DynamicUser", service.shown());
    let hint = "name a user of its own, or say DynamicUser = true".to_owned();
    let mut fault = RULE.fault(&service.at, message).hint(Some(hint));
    fault.keys = vec![format!("{} has no user", service.shown())];
    Some(fault)
}
