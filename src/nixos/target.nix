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
        A folder for metrics, which node_exporter's textfile collector reads. It is for the machine
        that is deployed from, and needs nothing else of this module.
      '';
    };

    textfilesOwner = lib.mkOption {
      type = lib.types.str;
      default = "root";
      example = "me";
      description = "Who writes them: the user who deploys from this machine.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
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
    })

    (lib.mkIf (cfg.textfiles != null) {
      systemd.tmpfiles.rules = [ "d ${cfg.textfiles} 0755 ${cfg.textfilesOwner} root -" ];

      services.prometheus.exporters.node = {
        enabledCollectors = [ "textfile" ];
        extraFlags = [ "--collector.textfile.directory=${cfg.textfiles}" ];
      };
    })
  ];
}
