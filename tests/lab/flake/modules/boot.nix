# Kernel, initrd and a bootloader in the manner of systemd-boot: one entry per
# generation of the system profile on /boot, loader.conf names the default.
{
  config,
  lib,
  make,
  ...
}:
let
  inherit (lib) mkOption types;
  bool = default: mkOption { type = types.bool; inherit default; };
  cfg = config.boot;
  knob = config.lab;
in
{
  options.boot = {
    kernelPackages = mkOption {
      type = types.unspecified;
      default = { kernel = { pname = "linux"; version = "6.18.2"; }; };
    };
    kernelParams = mkOption { type = types.listOf types.str; default = [ ]; };
    kernelModules = mkOption { type = types.listOf types.str; default = [ ]; };
    kernelFile = mkOption { type = types.unspecified; internal = true; };
    initrdFile = mkOption { type = types.unspecified; internal = true; };
    initrd = mkOption { type = types.attrsOf types.anything; default = { }; };
    tmp = mkOption { type = types.attrsOf types.anything; default = { }; };
    loader = {
      timeout = mkOption { type = types.nullOr types.int; default = 5; };
      efi.canTouchEfiVariables = bool true;
      efi.efiSysMountPoint = mkOption { type = types.str; default = "/boot"; };
      grub.enable = bool false;
      systemd-boot.enable = bool true;
      systemd-boot.configurationLimit = mkOption { type = types.nullOr types.int; default = null; };
    };
  };

  config = {
    boot.kernelParams = [ "systemd.unified_cgroup_hierarchy=1" "loglevel=4" ] ++ knob.kernelParams;
    boot.kernelFile = make.blob "linux-${cfg.kernelPackages.kernel.version}" "kernel ${cfg.kernelPackages.kernel.version} ${knob.kernelSeed}" knob.kernelMiB;
    boot.initrdFile = make.blob "initrd-linux-${cfg.kernelPackages.kernel.version}" "initrd ${cfg.kernelPackages.kernel.version} ${knob.kernelSeed}" knob.initrdMiB;

    system.build.installBootLoader = make.script "install-systemd-boot" ''
      #!/bin/bash
      LIMIT=${toString (if cfg.loader.systemd-boot.configurationLimit == null then 0 else cfg.loader.systemd-boot.configurationLimit)}
      ESP=${cfg.loader.efi.efiSysMountPoint}
      FAILS=${lib.optionalString knob.bootloaderFails "1"} HANGS=${toString knob.bootloaderHangs} SLOW=${toString knob.bootloaderSlow} LATE=${toString knob.bootloaderLate}
      ${builtins.readFile ./install-bootloader.sh}
    '';
  };
}
