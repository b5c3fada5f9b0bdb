# Ways for a configuration to be bad. All off by default.
{
  config,
  lib,
  make,
  ...
}:
let
  inherit (lib) mkOption mkIf mkMerge types;
  k = config.lab;
  flag = what: mkOption { type = types.bool; default = false; description = what; };
  num = default: what: mkOption { type = types.int; inherit default; description = what; };
  word = what: mkOption { type = types.nullOr types.str; default = null; description = what; };
  svc = extra: { wantedBy = [ "multi-user.target" ]; } // extra;
in
{
  options.lab = {
    factory = flag "the image every machine first boots";
    # evaluation and build
    evalError = flag "a failing assertion";
    evalWarning = flag "an evaluation warning";
    evalCost = num 0 "millions of steps (and list cells) that evaluation takes, as real configurations do";
    buildError = flag "toplevel does not build";
    slowBuild = num 0 "seconds that building toplevel takes";
    # closure and /boot
    closureMiB = num 0 "extra MiB in the closure";
    closurePaths = num 0 "extra small store paths in the closure";
    closureSeed = mkOption { type = types.str; default = "0"; };
    kernelMiB = num 2 "size of the kernel";
    initrdMiB = num 6 "size of the initrd";
    kernelSeed = mkOption { type = types.str; default = "0"; description = "another kernel of the same version"; };
    kernelParams = mkOption { type = types.listOf types.str; default = [ ]; description = "further kernel parameters"; };
    # boot loader: each run also leaves a line in /var/log/lab-bootloader.log
    bootloaderFails = flag "its install exits 1, nothing written";
    bootloaderHangs = num 0 "seconds that its install sleeps before it writes anything";
    bootloaderSlow = num 0 "seconds between the entries and the default in loader.conf";
    bootloaderLate = num 0 "seconds that it goes on after everything is written";
    # activation
    preSwitchFails = flag "pre-switch check fails: exit 1, nothing touched";
    preSwitchAsks = flag "pre-switch check fails while the machine has /etc/lab/refuse";
    failActivation = flag "an activation snippet fails: exit 2";
    slowActivation = num 0 "seconds that activation takes";
    hangingActivation = flag "activation sleeps 1000 s before it touches anything; the host's apps are stopped by then";
    inhibitor = word "the value of key lab in toplevel/switch-inhibitors; a switch to another value is refused: exit 1";
    initInterface = flag "another init interface: exit 100, nothing activated";
    fillDisk = flag "activation fills the disk: exit 2";
    # services
    brokenService = flag "app-broken.service fails to start: exit 4";
    lateFailure = num 0 "app-late.service fails N seconds after it started";
    crashLoop = flag "app-loop.service crashes and is restarted for ever: exit 4";
    quietCrashLoop = flag "app-quiet.service exits 7 after 1 s and is restarted for ever, never listed as failed: exit 0";
    slowService = num 0 "app-slow.service takes N seconds to start";
    hangingService = flag "app-hang.service never gets ready (90 s timeout): exit 4";
    # reachability
    breakSshd = word "config: sshd does not start; port: listens on 2222; off: no sshd";
    dropNetwork = word "address: another address; firewall: port 22 dropped at once; late: link down 5 s after activation; down: link down";
    breakDns = flag "resolv.conf names a dead server";
    dropRoute = flag "no default route";
    busMasked = flag "the system bus cannot be started; it runs on until somebody stops it";
    linkDown = flag "activation takes host0 down by hand; no unit knows of it";
    tailscale = word "what tailscale status says: Running, Stopped, NeedsLogin, hang (null: /etc/lab/tailscale, and without it no daemon)";
    # reboot
    bootFails = flag "stage 2 fails: the machine does not come up";
    bootHangs = flag "stage 2 hangs: the machine is on and says nothing";
    bootctl = mkOption { type = types.bool; default = true; description = "the loader can be told an entry for one start"; };
  };

  config = mkMerge [
    { assertions = [ { assertion = !k.evalError; message = "lab.evalError is set"; } ]; }
    {
      assertions = lib.optional (k.evalCost > 0) {
        assertion = lib.foldl' (a: b: a + b) 0 (lib.genList (i: i) (k.evalCost * 1000000)) > 0;
        message = "lab.evalCost";
      };
    }
    { warnings = lib.optional k.evalWarning "lab.evalWarning is set"; }
    {
      system.extraDependencies =
        lib.optional (k.closureMiB > 0) (make.blob "huge-blob" "huge ${k.closureSeed}" k.closureMiB)
        ++ map (i: make.text "small-${toString i}" "small ${k.closureSeed} ${toString i}\n") (lib.range 1 k.closurePaths);
    }
    (mkIf k.preSwitchFails { system.preSwitchChecks.lab = "echo 'lab.preSwitchFails'; exit 1"; })
    (mkIf k.preSwitchAsks { system.preSwitchChecks.lab-asks = "[ ! -e /etc/lab/refuse ]"; })
    (mkIf k.failActivation { system.activationScripts.lab-fail = lib.stringAfter [ "etc" ] "false"; })
    (mkIf (k.slowActivation > 0) {
      system.activationScripts.lab-slow = lib.stringAfter [ "etc" ] "sleep ${toString k.slowActivation}";
    })
    (mkIf k.hangingActivation {
      system.activationScripts.before-etc = lib.stringAfter [ ] "sleep 1000";
    })
    (mkIf k.fillDisk {
      # to the brim: the root and the store share one disk; activation exits 2
      system.activationScripts.lab-fill = lib.stringAfter [ ] "cat /dev/zero > /var/lab-fill";
    })
    (mkIf k.brokenService {
      systemd.services.app-broken = svc {
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = "echo 'app-broken: cannot open database' >&2; exit 3";
      };
    })
    (mkIf (k.lateFailure > 0) {
      systemd.services.app-late = svc {
        serviceConfig.Type = "exec";
        script = "sleep ${toString k.lateFailure}; echo 'app-late: gave up' >&2; exit 5";
      };
    })
    (mkIf k.crashLoop {
      systemd.services.app-loop = svc {
        unitConfig.StartLimitIntervalSec = 0;
        serviceConfig = { Type = "exec"; Restart = "always"; RestartSec = 2; };
        script = "echo 'app-loop: crash' >&2; exit 7";
      };
    })
    (mkIf k.quietCrashLoop {
      systemd.services.app-quiet = svc {
        unitConfig.StartLimitIntervalSec = 0;
        serviceConfig = { Type = "exec"; Restart = "always"; RestartSec = "100ms"; };
        script = "sleep 1; echo 'app-quiet: crash' >&2; exit 7";
      };
    })
    (mkIf (k.slowService > 0) {
      systemd.services.app-slow = svc {
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = "sleep ${toString k.slowService}";
      };
    })
    (mkIf k.hangingService {
      systemd.services.app-hang = svc {
        serviceConfig = { Type = "notify"; TimeoutStartSec = 90; };
        script = "exec sleep infinity";
      };
    })
    (mkIf (k.breakSshd == "config") { services.openssh.extraConfig = "ThisIsNoSshdOption yes"; })
    (mkIf (k.breakSshd == "port") { services.openssh.ports = lib.mkForce [ 2222 ]; })
    (mkIf (k.breakSshd == "off") { services.openssh.enable = false; })
    (mkIf k.busMasked { systemd.services.dbus.enable = false; })
    (mkIf k.linkDown { system.activationScripts.lab-link = lib.stringAfter [ "etc" ] "ip link set host0 down"; })
    (mkIf k.breakDns { networking.nameservers = lib.mkForce [ "10.99.255.253" ]; })
    (mkIf k.dropRoute { networking.defaultGateway = lib.mkForce null; })
    (mkIf (k.dropNetwork == "address") { networking.address = "10.99.250.250/16"; })
    (mkIf (k.dropNetwork == "firewall") {
      system.build.firewallRules = lib.mkForce (make.text "nixos-fw.nft" ''
        table inet nixos-fw
        delete table inet nixos-fw
        table inet nixos-fw { chain input { type filter hook input priority filter; policy drop; iif lo accept; }; }
      '');
    })
    (mkIf (k.dropNetwork == "down") {
      systemd.services.lab-down = svc {
        after = [ "network-addresses-host0.service" ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; ExecStop = config.system.build.linkUp; };
        script = "ip link set host0 down";
      };
    })
    (mkIf (k.dropNetwork == "late") {
      systemd.services.lab-down = svc {
        after = [ "network-addresses-host0.service" ];
        serviceConfig = { Type = "exec"; RemainAfterExit = true; ExecStopPost = config.system.build.linkUp; };
        script = "sleep 5; ip link set host0 down";
      };
    })
  ];
}
