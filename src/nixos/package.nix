# The package: built from Cargo.lock alone, with completions and manual pages of its own making.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  makeWrapper,
  git,
  nix,
  openssh,
}:
let
  cargo = lib.importTOML ../../Cargo.toml;

  # Only what the build reads: a change of anything else builds nothing anew.
  src = lib.fileset.toSource {
    root = ../../.;
    fileset = lib.fileset.unions [
      ../../Cargo.toml
      ../../Cargo.lock
      ../../README.md
      ../../flake.nix
      ../../hosts.toml
      ../../src
      ../../tests
      (lib.fileset.maybeMissing ../../LICENSE)
      (lib.fileset.maybeMissing ../../.ci)
      (lib.fileset.maybeMissing ../../.clippy.toml)
      (lib.fileset.maybeMissing ../../.rustfmt.toml)
    ];
  };
in
rustPlatform.buildRustPackage {
  pname = cargo.package.name;
  inherit (cargo.package) version;
  inherit src;
  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    makeWrapper
  ];

  # The tests start real programs and read the whole repository: checks.tests has them.
  doCheck = false;

  # The user's own PATH comes first: these serve where it has none.
  postInstall = ''
    wrapProgram $out/bin/nixdeploy \
      --suffix PATH : ${
        lib.makeBinPath [
          git
          openssh
          nix
        ]
      }
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/nixdeploy man man1
    installManPage man1/*.1
    for shell in bash fish zsh; do
      $out/bin/nixdeploy completions $shell > nixdeploy.$shell
    done
    installShellCompletion --cmd nixdeploy \
      --bash nixdeploy.bash --fish nixdeploy.fish --zsh nixdeploy.zsh
  '';

  meta = {
    inherit (cargo.package) description;
    license = lib.licenses.mit;
    mainProgram = "nixdeploy";
    platforms = lib.platforms.linux;
  };
}
