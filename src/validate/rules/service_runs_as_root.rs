//! A service that is told to run as root.

use super::service::Service;
use super::walk::milder;
use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::resolve::Literal;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "service-runs-as-root",
    severity: Severity::Block,
    flags: "`systemd.services.NAME.serviceConfig.User = \"root\"`",
    why: "A hole in a service that runs as root is a hole in the machine. Name a user of its own, \
          or say `DynamicUser = true;` and give it what it needs (StateDirectory, \
          AmbientCapabilities, LoadCredential). A oneshot service is a warning: maintenance often \
          does need root.",
    fixable: false,
    needs: &["systemd"],
    tops: &["systemd"],
    check: Check::Service(found),
    bad: &[
        "{ systemd.services.a.serviceConfig.User = \"root\"; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig = { User = \"root\"; }; }; }",
        "{ lib, c, ... }: { config = lib.mkIf c { systemd.services = { \"a b\".serviceConfig = \
          lib.mkMerge [ { User = lib.mkForce \"root\"; } { Type = \"simple\"; } ]; }; }; }",
        "let user = \"root\"; in { systemd.services.a.serviceConfig = { Type = \"exec\"; User = \
          user; }; }",
        "let base = { User = \"root\"; }; in { systemd.services.a.serviceConfig = base // { \
          ExecStart = \"/x\"; }; }",
        "{ lib, ... }: with lib; { systemd = mkMerge [ { services.a.serviceConfig.User = \
          \"root\"; } ]; }",
        "{ systemd.services.a.serviceConfig = { Type = \"oneshot\"; User = \"root\"; }; }",
        "{ outputs = { nixpkgs, ... }: { nixosConfigurations.a = nixpkgs.lib.nixosSystem { modules \
          = [ { systemd.services.a.serviceConfig.User = \"root\"; } ]; }; }; }",
    ],
    good: &[
        "{ systemd.services.a.serviceConfig.User = \"a\"; }",
        "{ systemd.services.a.serviceConfig.Group = \"root\"; }",
        "{ systemd.user.services.a.serviceConfig.User = \"root\"; }",
        "{ services.a.user = \"root\"; users.users.root.x = 1; }",
        "{ cfg, ... }: { systemd.services.a.serviceConfig.User = cfg.user; }",
        "{ c, ... }: { systemd.services.a.serviceConfig.User = if c then \"root\" else \"a\"; }",
        "{ f, ... }: f { systemd.services.a.serviceConfig.User = \"root\"; }",
        "{ systemd.services.a = { enable = false; serviceConfig.User = \"root\"; }; }",
        "{ options.x.default = { systemd.services.a.serviceConfig.User = \"root\"; }; }",
        "{ a = ''systemd.services.a.serviceConfig.User = \"root\"''; }",
        "{ x, ... }: { systemd.services.a.serviceConfig = { User = \"root\"; } // { User = \"a\"; \
          }; }",
    ],
};

fn found(service: &Service) -> Option<Fault> {
    let user = service.settings.get("User")?;
    let root = match user.value.as_ref()? {
        Literal::Text(name) => name == "root" || name == "0",
        Literal::Whole(id) => *id == 0,
        _ => false,
    };
    let guest = service.name.as_deref().is_some_and(|n| n.starts_with("microvm"));
    if !root || service.disabled || guest {
        return None;
    }
    // A type or a user that may come from elsewhere is not held against it.
    let certain = service.once() == Some(false) && !user.weak;
    let message = format!("{} runs as root", service.shown());
    let hint = "name a user of its own, or say DynamicUser = true".to_owned();
    let mut fault = RULE.fault(&user.at, message).hint(Some(hint));
    fault.severity = milder(fault.severity, !certain);
    fault.keys = vec![format!("User of {} is root", service.shown())];
    Some(fault)
}
