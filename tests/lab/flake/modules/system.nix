# toplevel, /etc, packages, activation.
{
  config,
  lib,
  make,
  pkgs,
  extendModules,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.system;

  str = default: mkOption { type = types.str; inherit default; };
  any = default: mkOption { type = types.attrsOf types.anything; inherit default; };

  # tools of the base tree that NixOS would have in sw/bin
  # what a NixOS system puts on PATH by itself: bash, coreutils, util-linux, findutils, gawk, procps, systemd, nix, ...
  baseTools = [
    "awk" "base64" "basename" "bash" "busctl" "cat" "chmod" "chown" "cmp" "comm" "cp" "cut" "date" "dd" "df" "diff" "dirname"
    "dmesg" "du" "env" "expr" "false" "find" "findmnt" "flock" "free" "gawk" "getent" "git" "grep" "gzip" "head"
    "hostname" "hostnamectl" "id" "ip" "join" "journalctl" "kill" "less" "ln" "logger" "loginctl" "ls" "lsblk" "md5sum"
    "mkdir" "mkfifo" "mktemp" "mount" "mountpoint" "mv" "nft" "nix" "nix-build" "nix-channel" "nix-collect-garbage"
    "nix-copy-closure" "nix-daemon" "nix-env" "nix-instantiate" "nix-store" "nohup" "nproc" "od" "paste" "pgrep" "ping"
    "pkill" "printf" "ps" "readlink" "realpath" "reboot" "rm" "rmdir" "sed" "seq" "setsid" "sh" "sha256sum" "shutdown"
    "sleep" "sort" "ss" "stat" "su" "sudo" "sync" "sysctl" "systemctl" "systemd-analyze" "systemd-cat" "systemd-escape"
    "systemd-run" "tail" "tailscale" "tar" "tee" "test" "timeout" "touch" "tr" "true" "truncate" "umount" "uname" "uniq" "uptime"
    "wc" "which" "xargs"
  ];

  nixosVersion = make.script "nixos-version" ''
    #!/bin/sh
    case "$1" in
      --json) echo '${
        builtins.toJSON {
          nixosVersion = cfg.nixos.version;
          nixpkgsRevision = cfg.nixos.revision;
          configurationRevision = cfg.configurationRevision;
        }
      }' ;;
      --hash|--revision) echo ${cfg.nixos.revision} ;;
      --configuration-revision) ${
        if cfg.configurationRevision == null then "exit 1" else "echo ${cfg.configurationRevision}"
      } ;;
      *) echo "${cfg.nixos.version} (${cfg.nixos.codeName})" ;;
    esac
  '';

  # the loader's variables are files of /boot here (see firmware)
  bootctl = make.script "bootctl" ''
    #!/bin/bash
    [ "$1" = set-oneshot ] || { echo "bootctl of the lab: only set-oneshot" >&2; exit 1; }
    if [ -z "$2" ]; then rm -f /boot/loader/oneshot; exit; fi
    [ -e "/boot/loader/entries/$2" ] || { echo "no entry $2" >&2; exit 1; }
    echo "$2" > /boot/loader/oneshot
  '';

  sw = make.run "system-path" { paths = config.environment.systemPackages; } ''
    mkdir -p "$out/bin" "$out/share"
    for t in ${toString baseTools}; do
      for d in /usr/bin /usr/sbin; do
        if [ -e $d/$t ]; then ln -s $d/$t "$out/bin/$t"; break; fi
      done
    done
    ln -s ${nixosVersion} "$out/bin/nixos-version"
    ${lib.optionalString config.lab.bootctl "ln -s ${bootctl} \"$out/bin/bootctl\""}
    for p in $paths; do
      for b in "$p"/bin/*; do [ -e "$b" ] && ln -sfn "$b" "$out/bin/"; done
      for s in "$p"/share/*; do [ -e "$s" ] && ln -sfn "$s" "$out/share/"; done
    done
  '';

  etcEntries = lib.filter (e: e.enable) (lib.attrValues config.environment.etc);
  etc = make.run "etc" { } ''
    mkdir -p "$out/etc"
    ${lib.concatMapStrings (e: ''
      mkdir -p "$out/etc/${dirOf e.target}"
      ln -s ${e.source} "$out/etc/${e.target}"
    '') etcEntries}
  '';

  # activation snippets in dependency order, each reported when it fails
  snippets = lib.mapAttrs (
    _: v: if builtins.isString v then lib.noDepEntry v else v
  ) cfg.activationScripts;
  activate = ''
    #!/bin/bash
    systemConfig=@out@
    export PATH=/usr/bin:/bin:/usr/sbin:/sbin
    _status=0
    trap '_status=1 _localstatus=$?' ERR
    umask 0022
    ${lib.textClosureMap lib.id (lib.mapAttrs (n: v: v // {
      text = ''
        #### ${n}
        _localstatus=0
        ${v.text}
        if (( _localstatus > 0 )); then
          printf "Activation script snippet '%s' failed (%s)\n" ${n} "$_localstatus"
        fi
      '';
    }) snippets) (lib.attrNames snippets)}
    # the last word: this is the system now
    ln -sfn "$(readlink -f "$systemConfig")" /run/current-system
    mkdir -p /nix/var/nix/gcroots
    ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
    exit $_status
  '';

  init = ''
    #!/bin/bash
    # stage 2: PID 1 hands over to systemd
    systemConfig=@out@
    export PATH=/usr/bin:/bin:/usr/sbin:/sbin
    echo "<<< NixOS Stage 2: $systemConfig >>>"
    ${lib.optionalString config.lab.bootFails "echo 'lab.bootFails: kernel panic'; exit 1"}
    ${lib.optionalString config.lab.bootHangs "echo 'lab.bootHangs'; exec sleep infinity"}
    "$systemConfig/activate"
    ln -sfn "$systemConfig" /run/booted-system
    ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system
    exec /usr/lib/systemd/systemd "$@"
  '';

  stcWrapper = ''
    #!/bin/bash
    export OUT=@out@ TOPLEVEL=@out@
    export INSTALL_BOOTLOADER=${config.system.build.installBootLoader}
    export PRE_SWITCH_CHECK=${preSwitch}
    exec ${make.script "switch-to-configuration" (builtins.readFile ./switch-to-configuration.sh)} "$@"
  '';

  preSwitch = make.script "pre-switch-checks" ''
    #!/bin/bash
    rc=0
    ${lib.concatStrings (lib.mapAttrsToList (n: t: ''
      ( ${t} ) || { echo "Pre-switch check '${n}' failed" >&2; rc=1; }
    '') cfg.preSwitchChecks)}
    exit $rc
  '';

  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  checked =
    x:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStrings (m: "- ${m}\n") failed}"
    else
      lib.foldr lib.warn x config.warnings;

  toplevel = make.run "nixos-system-${config.networking.hostName}-${cfg.nixos.label}" {
    inherit activate init stcWrapper;
    inhibitors = lib.optionalString (config.lab.inhibitor != null) (builtins.toJSON { lab = config.lab.inhibitor; });
    passAsFile = [ "activate" "init" "stcWrapper" "inhibitors" ];
    inherit (config.boot) kernelFile initrdFile;
    nixosVersion = cfg.nixos.version;
    extraDependencies = cfg.extraDependencies;
  } ''
    ${lib.optionalString config.lab.buildError "echo 'error: lab.buildError: compiler exploded' >&2; exit 1"}
    ${lib.optionalString (config.lab.slowBuild > 0) "sleep ${toString config.lab.slowBuild}"}
    mkdir -p "$out/bin" "$out/specialisation" "$out/kernel-modules/lib/modules/${config.boot.kernelPackages.kernel.version}"
    for f in activate init; do
      eval src=\$''${f}Path
      sed "s|@out@|$out|g" "$src" > "$out/$f"; chmod 555 "$out/$f"
    done
    sed "s|@out@|$out|g" "$stcWrapperPath" > "$out/bin/switch-to-configuration"
    chmod 555 "$out/bin/switch-to-configuration"
    ln -s ${etc}/etc "$out/etc"
    ln -s ${sw} "$out/sw"
    ln -s "$kernelFile" "$out/kernel"
    ln -s "$initrdFile" "$out/initrd"
    printf %s "$nixosVersion" > "$out/nixos-version"
    printf %s x86_64-linux > "$out/system"
    printf %s ${if config.lab.initInterface then "2" else "1"} > "$out/init-interface-version"
    printf %s "${toString config.boot.kernelParams}" > "$out/kernel-params"
    ${lib.optionalString (config.lab.inhibitor != null) ''cp "$inhibitorsPath" "$out/switch-inhibitors"''}
    echo $extraDependencies > "$out/extra-dependencies"
    cat > "$out/boot.json" <<JSON
    {"org.nixos.bootspec.v1":{"system":"x86_64-linux","label":"NixOS ${config.networking.hostName} ${cfg.nixos.label}","kernel":"$kernelFile","initrd":"$initrdFile","init":"$out/init","kernelParams":${builtins.toJSON config.boot.kernelParams},"toplevel":"$out"},"org.nixos.specialisation.v1":{}}
    JSON
    ${lib.concatStrings (lib.mapAttrsToList (n: s: ''
      ln -s ${s.configuration.config.system.build.toplevel or s.configuration.system.build.toplevel} "$out/specialisation/${n}"
    '') config.specialisation)}
  '';
in
{
  options = {
    assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; };

    networking.hostName = str "nixos";
    networking.domain = mkOption { type = types.nullOr types.str; default = null; };

    system = {
      stateVersion = str "25.11";
      nixos = {
        release = str "25.11";
        codeName = str "Xantusia";
        revision = str "1ab2c3d4e5f60718293a4b5c6d7e8f9001122334";
        version = str "25.11.20261101.1ab2c3d";
        tags = mkOption { type = types.listOf types.str; default = [ ]; };
        label = mkOption { type = types.str; };
      };
      name = mkOption { type = types.str; default = config.networking.hostName; };
      configurationRevision = mkOption { type = types.nullOr types.str; default = null; };
      build = mkOption { type = types.lazyAttrsOf types.unspecified; default = { }; };
      activationScripts = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      preSwitchChecks = mkOption { type = types.attrsOf types.lines; default = { }; };
      extraDependencies = mkOption { type = types.listOf types.package; default = [ ]; };
    };

    specialisation = mkOption {
      default = { };
      type = types.attrsOf (types.submodule {
        options.inheritParentConfig = mkOption { type = types.bool; default = true; };
        options.configuration = mkOption {
          default = { };
          inherit (extendModules {
            modules = [ { specialisation = lib.mkOverride 0 { }; } ];
          }) type;
        };
      });
    };

    environment = {
      systemPackages = mkOption { type = types.listOf types.package; default = [ ]; };
      variables = any { };
      etc = mkOption {
        default = { };
        type = types.attrsOf (types.submodule ({ name, config, ... }: {
          options = {
            enable = mkOption { type = types.bool; default = true; };
            target = mkOption { type = types.str; default = name; };
            text = mkOption { type = types.nullOr types.lines; default = null; };
            source = mkOption { type = types.path; };
          };
          config.source = lib.mkIf (config.text != null) (
            lib.mkDefault (make.text "etc-${baseNameOf name}" config.text)
          );
        }));
      };
    };

    users = any { };
    security = any { };
    hardware = any { };
    programs = any { };
    documentation = any { };
    fileSystems = any { };
    time.timeZone = mkOption { type = types.nullOr types.str; default = "UTC"; };
    i18n.defaultLocale = str "C.UTF-8";
    nixpkgs.hostPlatform = str "x86_64-linux";
    nixpkgs.config = any { };
  };

  config = {
    system.nixos.label = lib.mkDefault (
      lib.concatStringsSep "-" (lib.sort lib.lessThan cfg.nixos.tags ++ [ cfg.nixos.version ])
    );
    system.build = {
      toplevel = checked toplevel;
      inherit etc;
    };

    environment.etc = {
      hostname.text = config.networking.hostName + "\n";
      os-release.text = ''
        ID=nixos
        NAME=NixOS
        PRETTY_NAME="NixOS ${cfg.nixos.release} (${cfg.nixos.codeName})"
        VERSION="${cfg.nixos.release} (${cfg.nixos.codeName})"
        VERSION_ID="${cfg.nixos.release}"
        BUILD_ID="${cfg.nixos.version}"
      '';
    };

    environment.systemPackages = [ pkgs.curl pkgs.jq ];

    # as nixpkgs': the map of what a switch may not change under a running system
    system.preSwitchChecks.switchInhibitors = ''
      [ "$2" = boot ] && exit 0
      was=/run/current-system/switch-inhibitors new=$1/switch-inhibitors
      [ -e "$was" ] && [ -e "$new" ] || exit 0
      differ=$(jq -rn --slurpfile a "$was" --slurpfile b "$new" \
        '$a[0] | keys[] | select(. as $k | ($b[0] | has($k)) and $a[0][$k] != $b[0][$k]) | "\(.): \($a[0][.]) -> \($b[0][.])"')
      [ -z "$differ" ] || { echo "There are changes to critical components of the system:"; echo "$differ"; echo "Switching into this system is not recommended; reboot into it."; exit 1; } >&2
    '';

    system.activationScripts = {
      etc = lib.stringAfter [ ] (builtins.readFile ./activate-etc.sh);
      hostname = lib.stringAfter [ "etc" ] ''
        hostname "$(cat /etc/hostname)" 2>/dev/null || true
      '';
      # an ordinary file, as resolvconf leaves it, and written only when it differs
      resolvconf = lib.stringAfter [ "etc" ] ''
        _resolv=$'${lib.concatMapStrings (a: "nameserver ${a}\\n") config.networking.nameservers}options timeout:1 attempts:1'
        if [ "$(cat /etc/resolv.conf 2>/dev/null)" != "$_resolv" ]; then
          echo "$_resolv" > /etc/resolv.conf.new && mv -T /etc/resolv.conf.new /etc/resolv.conf
        fi
      '';
      # null: what the machine itself says in /etc/lab/tailscale
      tailscale = lib.stringAfter [ "etc" ] ''
        mkdir -p /run/lab
        ${if config.lab.tailscale == null then "rm -f /run/lab/tailscale" else "echo ${config.lab.tailscale} > /run/lab/tailscale"}
      '';
    };
  };
}
