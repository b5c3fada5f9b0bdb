# For home-manager: the program, with the completions and manual pages that its package brings.
{ packageOf }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.nixdeploy;
in
{
  options.programs.nixdeploy = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether nixdeploy is installed for this user.";
    };

    package = lib.mkOption {
      type = lib.types.package;
      default = packageOf pkgs;
      description = "The package of nixdeploy.";
    };
  };

  config = lib.mkIf cfg.enable {
    home.packages = [ cfg.package ];
  };
}
