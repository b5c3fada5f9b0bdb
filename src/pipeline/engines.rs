//! Engines that switch in place of our own activation: what each is called, which of its flags it
//! knows, and what it is told. Pure.

/// An engine, as its own help describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// nixpkgs' own: nixos-rebuild-ng says `--no-reexec` and `--sudo`, what came before it
    /// `--fast` and `--use-remote-sudo` (nixpkgs, `pkgs/by-name/ni/nixos-rebuild-ng`).
    NixosRebuild {
        /// It is nixos-rebuild-ng.
        new: bool,
    },
    /// nh, which calls sudo by itself where the user is not root, and does not want to be root
    /// unless it is told so (nh, `src/interface.rs`).
    Nh {
        /// It knows `--bypass-root-check`.
        bypass: bool,
    },
}

/// What an engine is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The flake, as Nix is told of it.
    pub flake: String,
    /// The configuration's name in it.
    pub attr: String,
    /// `USER@ADDRESS`; `None`: this machine.
    pub target: Option<String>,
    /// It is built there.
    pub builds_there: bool,
    /// The user there is not root.
    pub elevates: bool,
    /// The flake's own `nixConfig` counts.
    pub accept_flake_config: bool,
}

impl Engine {
    /// The one that is wanted, by what its help says.
    pub fn of(nh: bool, help: &[String]) -> Self {
        let knows = |flag: &str| help.iter().any(|line| line.contains(flag));
        match nh {
            true => Self::Nh { bypass: knows("--bypass-root-check") },
            false => Self::NixosRebuild { new: knows("--no-reexec") },
        }
    }

    /// The program, and how it is asked for help.
    pub fn program(nh: bool) -> (&'static str, &'static [&'static str]) {
        if nh { ("nh", &["os", "switch", "--help"]) } else { ("nixos-rebuild", &["--help"]) }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        Self::program(matches!(self, Self::Nh { .. })).0
    }

    /// What it is told.
    pub fn words(self, wanted: &Wanted) -> Vec<String> {
        match self {
            Self::NixosRebuild { new } => nixos_rebuild(new, wanted),
            Self::Nh { bypass } => nh(bypass, wanted),
        }
    }
}

fn nixos_rebuild(new: bool, wanted: &Wanted) -> Vec<String> {
    let mut words = vec!["switch".to_owned(), "--flake".to_owned()];
    words.push(format!("{}#{}", wanted.flake, wanted.attr));
    words.extend(there(wanted));
    let (sudo, quick) =
        if new { ("--sudo", "--no-reexec") } else { ("--use-remote-sudo", "--fast") };
    words.extend(wanted.elevates.then(|| sudo.to_owned()));
    words.push("--keep-going".to_owned());
    words.extend(wanted.accept_flake_config.then(|| "--accept-flake-config".to_owned()));
    words.push(quick.to_owned());
    words
}

/// Never `--update`: the lock that was checked is in place, and another would be deployed unseen.
fn nh(bypass: bool, wanted: &Wanted) -> Vec<String> {
    let mut words = ["os", "switch", &wanted.flake, "--hostname", &wanted.attr, "--no-nom"]
        .map(str::to_owned)
        .to_vec();
    words.extend(there(wanted));
    words.extend(bypass.then(|| "--bypass-root-check".to_owned()));
    if wanted.accept_flake_config {
        words.extend(["--", "--accept-flake-config"].map(str::to_owned));
    }
    words
}

/// The options of ssh are the target's own: another host that built for it was asked by us.
fn there(wanted: &Wanted) -> Vec<String> {
    let Some(target) = &wanted.target else { return Vec::new() };
    let mut words = vec!["--target-host".to_owned(), target.clone()];
    if wanted.builds_there {
        words.extend(["--build-host".to_owned(), target.clone()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(engine: Engine, wanted: &Wanted) -> String {
        format!("{} {}", engine.name(), engine.words(wanted).join(" "))
    }

    #[test]
    fn each_engine_is_told_in_its_own_words() {
        let here = Wanted { flake: "/x".to_owned(), attr: "p".to_owned(), ..Wanted::default() };
        let there = Wanted {
            target: Some("a@p".to_owned()),
            builds_there: true,
            elevates: true,
            accept_flake_config: true,
            ..here.clone()
        };
        let help = |text: &str| vec![text.to_owned()];
        let new = Engine::of(false, &help("[--no-reexec] [--sudo]"));
        let old = Engine::of(false, &help("[--fast]"));
        let nh = Engine::of(true, &help("  -R, --bypass-root-check"));
        let older = Engine::of(true, &[]);
        let told = [new, old, nh, older].map(|e| [told(e, &here), told(e, &there)]).concat();
        insta::assert_snapshot!(told.join("\n").replace(" --", "\n  --"), @r"
        nixos-rebuild switch
          --flake /x#p
          --keep-going
          --no-reexec
        nixos-rebuild switch
          --flake /x#p
          --target-host a@p
          --build-host a@p
          --sudo
          --keep-going
          --accept-flake-config
          --no-reexec
        nixos-rebuild switch
          --flake /x#p
          --keep-going
          --fast
        nixos-rebuild switch
          --flake /x#p
          --target-host a@p
          --build-host a@p
          --use-remote-sudo
          --keep-going
          --accept-flake-config
          --fast
        nh os switch /x
          --hostname p
          --no-nom
          --bypass-root-check
        nh os switch /x
          --hostname p
          --no-nom
          --target-host a@p
          --build-host a@p
          --bypass-root-check
          --
          --accept-flake-config
        nh os switch /x
          --hostname p
          --no-nom
        nh os switch /x
          --hostname p
          --no-nom
          --target-host a@p
          --build-host a@p
          --
          --accept-flake-config
        ");
    }
}
