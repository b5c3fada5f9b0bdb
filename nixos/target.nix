# A host that is deployed to: its user, what that may do through sudo, a folder for metrics.
# Nothing of it is needed where nixdeploy logs in as root.
{ config, lib, ... }:
let
  cfg = config.nixdeploy;
in
{
  options.nixdeploy = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether nixdeploy deploys to this host as a user of its own.";
    };

    user = lib.mkOption {
      type = lib.types.str;
      default = "deploy";
      description = "The user that it logs in as: `user` of the host in hosts.toml.";
    };

    authorizedKeys = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "from=\"192.0.2.7\" ssh-ed25519 AAAA... me@laptop" ];
      description = ''
        Public keys that log in as this user. Whoever has one of them is root on this host: guard
        it as you guard root's, and say `from=` where addresses are fixed.
      '';
    };

    sudo = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether the user may start `/bin/sh` and `nix-daemon` through sudo without a password, the
        two programs that nixdeploy starts so. A shell as root is root: the rule is as small as it
        can be, and gives away no less. Without it nixdeploy asks for sudo's password.
      '';
    };

    textfiles = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/var/lib/nixdeploy/metrics";
      description = ''
        A folder that the user may write metrics into, and that node_exporter's textfile collector
        reads. For the machine that deploys, which is where metrics are written.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.authorizedKeys != [ ];
        message = "nixdeploy.authorizedKeys is empty: nobody could deploy to this host.";
      }
      {
        assertion = cfg.user != "root";
        message = "nixdeploy.user is root: leave nixdeploy.enable out, root needs nothing of it.";
      }
    ];

    users.users.${cfg.user} = {
      isNormalUser = true;
      description = "nixdeploy";
      openssh.authorizedKeys.keys = cfg.authorizedKeys;
    };

    security.sudo.extraRules = lib.optionals cfg.sudo [
      {
        users = [ cfg.user ];
        commands =
          map
            (command: {
              inherit command;
              options = [ "NOPASSWD" ];
            })
            [
              "/bin/sh"
              "/run/current-system/sw/bin/nix-daemon"
            ];
      }
    ];

    systemd.tmpfiles.rules = lib.optionals (cfg.textfiles != null) [
      "d ${cfg.textfiles} 0755 ${cfg.user} users -"
    ];

    services.prometheus.exporters.node = lib.mkIf (cfg.textfiles != null) {
      enabledCollectors = [ "textfile" ];
      extraFlags = [ "--collector.textfile.directory=${cfg.textfiles}" ];
    };
  };
}
