{
  description = "A fleet of NixOS machines";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Where you have it: a folder, or a repository.
    nixdeploy.url = "path:/srv/nixdeploy";
    nixdeploy.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, nixdeploy, ... }:
    let
      host =
        name:
        nixpkgs.lib.nixosSystem {
          modules = [
            nixdeploy.nixosModules.default
            ./modules/common.nix
            ./hosts/${name}
            { networking.hostName = name; }
          ];
        };
    in
    {
      nixosConfigurations = nixpkgs.lib.genAttrs [
        "db"
        "router"
        "web"
      ] host;

      # nix develop: the program at hand, with its completions.
      devShells = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: {
        default = nixpkgs.legacyPackages.${system}.mkShellNoCC {
          packages = [ nixdeploy.packages.${system}.default ];
        };
      });
    };
}
