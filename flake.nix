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
      cargo = lib.importTOML ./Cargo.toml;

      # Only what the build reads: a change of the README builds nothing anew.
      source = lib.fileset.toSource {
        root = ./.;
        fileset = lib.fileset.unions [
          ./Cargo.toml
          ./Cargo.lock
          ./hosts.toml
          ./src
          ./tests
          (lib.fileset.maybeMissing ./README.md)
          (lib.fileset.maybeMissing ./LICENSE)
          (lib.fileset.maybeMissing ./.ci)
          (lib.fileset.maybeMissing ./.clippy.toml)
          (lib.fileset.maybeMissing ./.rustfmt.toml)
        ];
      };

      package =
        {
          rustPlatform,
          makeWrapper,
          git,
          nix,
          openssh,
        }:
        rustPlatform.buildRustPackage {
          pname = cargo.package.name;
          inherit (cargo.package) version;
          src = source;
          cargoLock.lockFile = ./Cargo.lock;

          nativeBuildInputs = [
            makeWrapper
          ];

          # The tests start real programs and read the whole repository: checks.tests has them.
          doCheck = false;

          # Behind the user's own PATH: his nix and ssh come first, these serve where there are none.
          postInstall = ''
            wrapProgram $out/bin/nixdeploy \
              --suffix PATH : ${
                lib.makeBinPath [
                  git
                  openssh
                  nix
                ]
              }
          '';

          meta = {
            inherit (cargo.package) description;
            license = lib.licenses.mit;
            mainProgram = "nixdeploy";
            platforms = lib.platforms.linux;
          };
        };
    in
    {
      packages = eachSystem (pkgs: rec {
        nixdeploy = pkgs.callPackage package { };
        default = nixdeploy;
      });

      apps = eachSystem (pkgs: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          meta.description = cargo.package.description;
        };
      });

      overlays.default = final: _prev: { nixdeploy = final.callPackage package { }; };

      checks = eachSystem (
        pkgs:
        let
          inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) nixdeploy;
        in
        {
          inherit nixdeploy;
          # Everything but the machines of tests/lab, which need root: tests/run has those.
          tests = nixdeploy.overrideAttrs {
            pname = "nixdeploy-tests";
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
          };
        }
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
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

      formatter = eachSystem (pkgs: pkgs.nixfmt);
    };
}
