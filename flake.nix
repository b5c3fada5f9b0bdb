{
  description = "Deploys a flake of NixOS hosts over SSH, verifies each one and takes back what fails";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      ours = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system}.nixdeploy;
    in
    {
      packages = eachSystem (pkgs: rec {
        nixdeploy = pkgs.callPackage ./src/nixos/package.nix { };
        default = nixdeploy;
      });

      apps = eachSystem (pkgs: {
        default = {
          type = "app";
          program = lib.getExe (ours pkgs);
          meta.description = (ours pkgs).meta.description;
        };
      });

      overlays.default = final: _prev: {
        nixdeploy = final.callPackage ./src/nixos/package.nix { };
      };

      # A host that is deployed to; no host needs it whose root nixdeploy may log in as.
      nixosModules.default = ./src/nixos/target.nix;

      # For home-manager, on the machine that deploys.
      homeModules.default = import ./src/nixos/home.nix { packageOf = ours; };

      templates = rec {
        fleet = {
          path = ./src/nixos/fleet;
          description = "Three NixOS machines, and hosts.toml beside them";
        };
        default = fleet;
      };

      checks = eachSystem (
        pkgs:
        let
          # The package's own build, with other things to do.
          with' =
            name: more:
            (ours pkgs).overrideAttrs (
              before: { pname = "nixdeploy-${name}"; } // more (before.nativeBuildInputs or [ ])
            );
        in
        {
          nixdeploy = ours pkgs;

          # Everything but the machines of tests/lab, which need root: tests/run has those.
          tests = with' "tests" (_: {
            doCheck = true;
            checkFlags = [ "--skip=lab::" ];
            nativeCheckInputs = [
              pkgs.git
              pkgs.openssh
              pkgs.procps
              pkgs.prometheus
              pkgs.prometheus.cli
              pkgs.prometheus-node-exporter
              pkgs.prometheus-pushgateway
              pkgs.shellcheck
            ];
          });

          clippy = with' "clippy" (inputs: {
            nativeBuildInputs = inputs ++ [ pkgs.clippy ];
            buildPhase = "cargo clippy --all-targets -- --deny warnings";
            installPhase = "touch $out";
            postInstall = "";
          });

          format =
            pkgs.runCommand "nixdeploy-format"
              {
                nativeBuildInputs = [
                  pkgs.nixfmt
                  pkgs.rustfmt
                ];
              }
              ''
                cd ${(ours pkgs).src}
                nixfmt --check flake.nix $(find nixos -name '*.nix')
                rustfmt --check --edition 2024 src/main.rs src/lib.rs tests/main.rs
                touch $out
              '';
        }
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (ours pkgs) ];
          packages = [
            pkgs.clippy
            pkgs.rustfmt
            pkgs.rust-analyzer
            pkgs.shellcheck
            pkgs.git
            pkgs.openssh
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
