# laptop whose deploy user is admin: no root login, sudo without a password, not in trusted-users
{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.git-min pkgs.firefox ];
  lab.apps.printing = { port = 631; };
  services.openssh.settings.PermitRootLogin = "no";
  system.stateVersion = "25.11";
}
