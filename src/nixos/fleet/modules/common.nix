# What every machine has.
{
  services.openssh.enable = true;

  nixdeploy = {
    enable = true;
    # Your own public key: `cat ~/.ssh/id_ed25519.pub`.
    authorizedKeys = [ "ssh-ed25519 AAAA... me@laptop" ];
  };
}
