//! A service that could have a user of its own for nothing.

use super::service::Service;
use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "no-dynamic-user",
    severity: Severity::Info,
    flags: "a service with a command, without User, that does not use DynamicUser",
    why: "`DynamicUser = true;` gives a service a user that exists only while it runs, and implies \
          much hardening. It does not fit where a fixed id owns files, or a device is needed.",
    fixable: false,
    needs: &["systemd"],
    tops: &["systemd"],
    check: Check::Service(found),
    bad: &[
        "{ systemd.services.a.script = \"x\"; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = false; }; }",
    ],
    good: &[
        "{ systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = true; }; }",
        "{ systemd.services.a = { script = \"x\"; serviceConfig.User = \"a\"; }; }",
        "{ systemd.services.a.serviceConfig.Restart = \"always\"; }",
        "{ c, ... }: { systemd.services.a = { script = \"x\"; serviceConfig.DynamicUser = c; }; }",
    ],
};

fn found(service: &Service) -> Option<Fault> {
    let settled = service.settings.contains_key("User")
        || service.is_on("DynamicUser")
        || service.unknown("DynamicUser");
    if !service.judged() || settled {
        return None;
    }
    let message = format!("{} could use DynamicUser", service.shown());
    let mut fault = RULE.fault(&service.at, message);
    fault.keys = vec![format!("{} has no dynamic user", service.shown())];
    Some(fault)
}
