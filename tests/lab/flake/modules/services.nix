# What a machine needs to be reached and deployed to: address, firewall,
# sshd, nix; and a few services by role.
{
  config,
  lib,
  make,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types mkIf;
  bool = default: mkOption { type = types.bool; inherit default; };
  ports = mkOption { type = types.listOf types.port; default = [ ]; };
  net = config.networking;
  knob = config.lab;

  defaultRoute = lib.optionalString (net.defaultGateway != null) "ip route replace default via ${net.defaultGateway} dev host0";

  nixConf = lib.concatStrings (lib.mapAttrsToList (
    k: v: "${k} = ${if builtins.isBool v then lib.boolToString v else if builtins.isList v then toString v else toString v}\n"
  ) config.nix.settings);
in
{
  options = {
    networking = {
      # null: the address the lab gave this machine
      address = mkOption { type = types.nullOr types.str; default = null; };
      interfaces = mkOption { type = types.attrsOf types.anything; default = { }; };
      defaultGateway = mkOption { type = types.nullOr types.str; default = "10.99.0.1"; };
      nameservers = mkOption { type = types.listOf types.str; default = [ "10.99.0.1" ]; };
      useDHCP = bool false;
      firewall = {
        enable = bool true;
        allowedTCPPorts = ports;
        allowedUDPPorts = ports;
        allowPing = bool true;
      };
    };
    services = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options.openssh = {
          enable = bool true;
          ports = mkOption { type = types.listOf types.port; default = [ 22 ]; };
          settings = mkOption { type = types.attrsOf types.anything; default = { }; };
          extraConfig = mkOption { type = types.lines; default = ""; };
        };
      };
    };
    nix.settings = mkOption { type = types.attrsOf types.anything; default = { }; };
    nix.gc = mkOption { type = types.attrsOf types.anything; default = { }; };
    # role services: sleepers with a name, a port and a config file
    lab.apps = mkOption {
      default = { };
      type = types.attrsOf (types.submodule {
        options = {
          port = mkOption { type = types.nullOr types.port; default = null; };
          config = mkOption { type = types.lines; default = ""; };
          reloadable = bool false;
          after = mkOption { type = types.listOf types.str; default = [ ]; };
        };
      });
    };
  };

  config = {
    nix.settings = {
      experimental-features = lib.mkDefault [ "nix-command" "flakes" ];
      sandbox = lib.mkDefault false;
      substituters = lib.mkDefault "";
      require-sigs = lib.mkDefault true;
      trusted-users = lib.mkDefault [ "root" ];
      build-users-group = lib.mkDefault "nixbld";
      flake-registry = lib.mkDefault "";
    };
    services.openssh.settings = {
      PermitRootLogin = lib.mkDefault "prohibit-password";
      PasswordAuthentication = lib.mkDefault "no";
    };
    networking.firewall.allowedTCPPorts =
      config.services.openssh.ports
      ++ lib.concatMap (a: lib.optional (a.port != null) a.port) (lib.attrValues knob.apps);

    environment.etc = {
      "nix/nix.conf".text = nixConf;
      "ssh/sshd_config".text = ''
        ${lib.optionalString knob.factory "Include /etc/lab/sshd_config.d/*.conf"}
        ${lib.concatMapStrings (p: "Port ${toString p}\n") config.services.openssh.ports}
        ${lib.concatStrings (lib.mapAttrsToList (k: v: "${k} ${toString v}\n") config.services.openssh.settings)}
        UsePAM yes
        UseDNS no
        PrintMotd no
        MaxStartups 100:30:200
        MaxSessions 100
        Subsystem sftp /usr/lib/openssh/sftp-server
        ${config.services.openssh.extraConfig}
      '';
    }
    // lib.mapAttrs' (n: a: lib.nameValuePair "${n}.conf" { text = "# ${n}\n" + a.config; }) knob.apps;

    systemd.services = {
      network-addresses-host0 = {
        description = "Address configuration of host0";
        wantedBy = [ "multi-user.target" ];
        before = [ "network.target" "sshd.service" ];
        wants = [ "network.target" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStop = "/usr/sbin/ip addr flush dev host0";
        };
        script = ''
          ip addr replace ${if net.address == null then ''"$(cat /etc/lab/address)"'' else net.address} dev host0
          ip link set host0 up
          ${defaultRoute}
        '';
      };

      firewall = mkIf net.firewall.enable {
        description = "Firewall";
        wantedBy = [ "multi-user.target" ];
        before = [ "network.target" ];
        reloadIfChanged = true;
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; ExecStop = "/usr/sbin/nft delete table inet nixos-fw"; };
        script = "nft -f ${config.system.build.firewallRules}";
        reload = "nft -f ${config.system.build.firewallRules}";
      };

      sshd = mkIf config.services.openssh.enable {
        description = "SSH Daemon";
        wantedBy = [ "multi-user.target" ];
        after = [ "network.target" ];
        stopIfChanged = false;
        restartTriggers = [ config.environment.etc."ssh/sshd_config".source ];
        serviceConfig = {
          Type = "notify";
          KillMode = "process";
          Restart = "always";
          RuntimeDirectory = "sshd";
          RuntimeDirectoryPreserve = true;
          ExecStart = "/usr/sbin/sshd -D -f /etc/ssh/sshd_config";
          ExecReload = "/bin/kill -HUP $MAINPID";
        };
      };

      nix-daemon = {
        description = "Nix Daemon";
        requires = [ "nix-daemon.socket" ];
        restartTriggers = [ config.environment.etc."nix/nix.conf".source ];
        serviceConfig = {
          ExecStart = "/usr/bin/nix-daemon --daemon";
          KillMode = "process";
          LimitNOFILE = 1048576;
        };
      };
    }
    // lib.mapAttrs (n: a: {
      description = "lab app ${n}";
      wantedBy = [ "multi-user.target" ];
      inherit (a) after;
      reloadTriggers = lib.optional a.reloadable config.environment.etc."${n}.conf".source;
      restartTriggers = lib.optional (!a.reloadable) config.environment.etc."${n}.conf".source ++ lib.optional knob.hangingActivation "lab.hangingActivation";
      serviceConfig = { Type = "exec"; ExecStart = "/usr/bin/sleep infinity"; ExecReload = "/usr/bin/true"; };
    }) knob.apps;

    systemd.sockets.nix-daemon = {
      description = "Nix Daemon Socket";
      wantedBy = [ "sockets.target" ];
      socketConfig.ListenStream = "/nix/var/nix/daemon-socket/socket";
    };

    # what a knob that takes host0 down runs on its way back
    system.build.linkUp = make.script "link-up" "#!/bin/bash\nset -e\nip link set host0 up\n${defaultRoute}\n";

    system.build.firewallRules = make.text "nixos-fw.nft" ''
      table inet nixos-fw
      delete table inet nixos-fw
      table inet nixos-fw {
        chain input {
          type filter hook input priority filter; policy drop;
          iif lo accept
          ct state established,related accept
          ${lib.optionalString net.firewall.allowPing "icmp type echo-request accept"}
          ${lib.concatMapStrings (p: "tcp dport ${toString p} accept\n    ") (lib.unique net.firewall.allowedTCPPorts)}
          ${lib.concatMapStrings (p: "udp dport ${toString p} accept\n    ") (lib.unique net.firewall.allowedUDPPorts)}
        }
      }
    '';
  };
}
