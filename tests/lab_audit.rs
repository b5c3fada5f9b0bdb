//! Who gets in and what is opened: told before the new system is let loose, and no deploy is
//! stopped by it.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::rows::{COMMITTED, Row, flat, rows};

    fn with_a_key(desk: &Desk) {
        desk.knob(
            "environment.etc.\"ssh/authorized_keys.d/admin\".text = \"ssh-ed25519 AAAA a\\n\"; \
             systemd.services.app-guarded = { wantedBy = [ \"multi-user.target\" ]; serviceConfig \
             = { ExecStart = \"/usr/bin/sleep infinity\"; User = \"nobody\"; \
             NoNewPrivileges = true; }; };",
        );
        let said = desk.run(&["quick-deploy", desk.host()]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    }

    rows! {
        what_is_opened: Row {
            id: "audit: opened",
            knob: "lab.apps.greeter = { port = 8082; }; \
                services.openssh.settings.PermitRootLogin = \"yes\";",
            says: &[
                "open on every interface, and was not before: tcp 8082",
                "root may log in with a password",
                "runs as root, and did not before: greeter",
                "(networking.firewall, for one interface below interfaces.NAME)",
            ],
            after: |desk, _, _| {
                let again = desk.run(&["quick-deploy", desk.host()]);
                assert!(!flat(&again).contains("and was not before"), "{}", again.stderr);
            },
            ..COMMITTED
        };
        who_is_locked_out: Row {
            id: "audit: locked out",
            host: "samsung",
            before: with_a_key,
            knob: "systemd.services.app-guarded = { wantedBy = [ \"multi-user.target\" ]; \
                serviceConfig = { ExecStart = \"/usr/bin/sleep infinity\"; }; };",
            says: &[
                "admin, who deploys, has no key in the configuration any more",
                "users.users.admin.openssh.authorizedKeys.keys",
                "runs as root, and did not before: app-guarded",
                "less protected than before: app-guarded (NoNewPrivileges)",
            ],
            ..COMMITTED
        };
    }
}
