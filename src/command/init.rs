//! `nixdeploy init`: hosts.toml from the hosts of the flake.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Global, InitArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::fleet::hosts_toml::{FILE_NAME, find};
use crate::fleet::names::RESERVED;
use crate::fleet::{Address, AttrName, HostName};
use crate::world::{Invocation, Output, StartError, World, files};

use super::inventory;
use crate::report::look::count;

/// Fetching the inputs of a flake can take long; evaluating the names does not.
const PATIENCE: Duration = Duration::from_secs(600);
/// Inventories kept beside the one that replaces them.
const BACKUPS: u32 = 99;

/// Asks the flake for its hosts and writes them down.
///
/// # Errors
/// When there is a hosts.toml already, or the flake does not tell its hosts.
pub async fn run(world: &World, global: &Global, args: &InitArgs) -> Result<Exit, Error> {
    let environment = &world.environment;
    let path = match &global.inventory {
        Some(path) => environment.expand(&path.to_string_lossy(), &environment.folder),
        None => place(&environment.folder, global.flake.is_none()),
    };
    if path.exists() && !args.force {
        return Err(Error::usage(format!("{} is there already", path.display()))
            .hint("replace it: nixdeploy init --force")
            .hint("write another one: nixdeploy init --inventory FILE"));
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("/")).to_path_buf();
    let flake = match &global.flake {
        Some(typed) => inventory::reference(environment, typed, &environment.folder),
        None => folder.display().to_string(),
    };
    let output = world.run(question(&flake)?).await.map_err(not_started)?;
    let names = names(&output, &flake)?;
    // A flake in the same folder needs no mention: the file can move with it.
    let written = if Path::new(&flake) == folder { "." } else { flake.as_str() };
    let unwritten = |error: std::io::Error| {
        Error::usage(format!("cannot write {}", path.display()))
            .because(error)
            .hint("write it elsewhere: nixdeploy init --inventory FILE")
    };
    let kept = keep(&path).map_err(unwritten)?;
    files::replace(&path, render(&names, written).as_bytes()).map_err(unwritten)?;
    let kept = kept.map(|kept| format!("The one before is kept: {}\n", kept.display()));
    crate::report::out(&(farewell(&path, &names) + &kept.unwrap_or_default()));
    Ok(Exit::Done)
}

/// Where hosts.toml belongs, seen from a folder: the one that is there, here or in a folder above,
/// as every command finds it; but beside a flake that lies nearer, whose hosts are asked for. A new
/// one in a folder of the flake would hide the real one from whoever stands there.
fn place(folder: &Path, flake_here: bool) -> PathBuf {
    let flake = folder.ancestors().find(|f| flake_here && f.join("flake.nix").exists());
    let there = find(folder, Path::exists);
    match (there, flake) {
        (Some(there), Some(flake)) if !there.starts_with(flake) => flake.join(FILE_NAME),
        (Some(there), _) => there,
        (None, flake) => flake.unwrap_or(folder).join(FILE_NAME),
    }
}

/// Keeps what is there beside it, under a name that nothing has: `hosts.toml.old`, `.old2`, ...
fn keep(path: &Path) -> std::io::Result<Option<PathBuf>> {
    for n in 1..=BACKUPS {
        let number = if n == 1 { String::new() } else { n.to_string() };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old{number}"));
        // A second name for the same file: there is no moment at which it has none.
        match std::fs::hard_link(path, &name) {
            Ok(()) => return Ok(Some(name.into())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(_) if !Path::new(&name).exists() => {
                return std::fs::copy(path, &name).map(|_| Some(name.into()));
            }
            Err(_) => {}
        }
    }
    Err(std::io::Error::other(format!("there are {BACKUPS} files kept beside it already")))
}

/// What Nix is asked.
fn question(flake: &str) -> Result<Invocation, Error> {
    if flake.starts_with('-') || flake.contains(['#', '\n', '\0']) {
        return Err(Error::usage("--flake takes a path or a flake reference, without '#'")
            .hint("for example: nixdeploy init --flake ~/.config/nixos"));
    }
    let args = [
        "--extra-experimental-features",
        "nix-command flakes",
        "eval",
        "--json",
        "--apply",
        "builtins.attrNames",
    ];
    let attribute = format!("{flake}#nixosConfigurations");
    let args = args.into_iter().map(str::to_owned).chain([attribute]);
    Ok(Invocation::new("nix", args).timeout(PATIENCE))
}

fn names(output: &Output, flake: &str) -> Result<Vec<String>, Error> {
    let failed = |cause: String| {
        let flake = harmless::line(flake);
        Error::new(Exit::NotBuilt, format!("{flake} does not tell its nixosConfigurations"))
            .because(cause)
            .hint("name the flake: nixdeploy init --flake ~/.config/nixos")
            .hint(format!("see what Nix says: nix flake show {}", quoted(&flake)))
    };
    if !output.ended.ok() {
        return Err(failed(format!("nix: {}: {}", output.ended, complaint(&output.err))));
    }
    let names: Vec<String> =
        serde_json::from_str(&output.out.join("\n")).map_err(|e| failed(e.to_string()))?;
    if names.is_empty() {
        return Err(failed("nixosConfigurations is empty".to_owned()));
    }
    Ok(names)
}

/// Nix's own error among its lines; it may hold anything, and none of it may draw.
fn complaint(lines: &[String]) -> String {
    let mut errors = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let error = errors.clone().rfind(|line| line.starts_with("error:")).or(errors.next_back());
    harmless::line(error.unwrap_or("no word"))
}

fn quoted(word: &str) -> String {
    crate::world::invocation::quote(word)
}

fn not_started(error: StartError) -> Error {
    let told = Error::usage("cannot ask Nix for the hosts").because(&error);
    if error.missing {
        told.hint("install Nix: https://nixos.org/download")
    } else {
        told.hint("try it: nix --version")
    }
}

fn farewell(path: &Path, names: &[String]) -> String {
    let first = names.iter().find(|n| usable(n).is_ok()).map_or("HOST", String::as_str);
    let left_out = names.iter().filter(|n| usable(n).is_err()).count();
    let hosts = count(names.len() - left_out, "host", "hosts");
    let mut text = format!("{}: {hosts}", path.display());
    if left_out > 0 {
        let _ = write!(text, ", {left_out} left out (the file says why)");
    }
    text.push_str(
        "\n\nNext: the keys of hosts that ssh does not know yet, who answers, and what a ",
    );
    let _ = writeln!(text, "deploy would change\n  nixdeploy trust {first}\n  nixdeploy status");
    let _ = writeln!(text, "  nixdeploy deploy {first} --dry-run");
    text
}

/// A hosts.toml with these hosts; `flake` is `.` when it lies beside the file.
pub fn render(names: &[String], flake: &str) -> String {
    let mut text = String::from(
        "# The machines of this flake and how each is deployed.\n\
         # A host needs only its name; for editors: nixdeploy schema.\n\n\
         [defaults]\n",
    );
    let written = match flake {
        "." => "# flake = \"~/.config/nixos\"   # without it: the folder of this file\n".to_owned(),
        flake => format!("flake = {}\n", toml_text(flake)),
    };
    text.push_str(&written);
    text.push_str(
        "# user = \"root\"               # without it: what ssh's configuration says\n\
         # build_on = \"target\"         # or \"local\" (the default), or the name of a host\n\
         # accept_flake_config = true  # if the flake's own nixConfig is to be trusted\n",
    );
    for name in names {
        text.push('\n');
        text.push_str(&host(name));
    }
    text.push_str(
        "\n# What else can be said of a host:\n\
         # address = \"192.168.1.20\"    # without it: its name, as ssh knows it\n\
         # tags = [\"server\"]           # nixdeploy deploy @server\n\
         # role = \"network\"            # others depend on it: it goes last, alone\n\
         # optional = \"skip\"           # left out when it does not answer\n\
         # critical_services = [\"sshd\"]\n",
    );
    text
}

/// The table of a host, or why there is none.
fn host(name: &str) -> String {
    match usable(name) {
        Ok(()) => format!("[hosts.{}]\n", toml_key(name)),
        Err(why) => {
            let mut text = format!("# {} is left out: {why}\n", toml_text(name));
            if AttrName::new(name).is_ok() {
                let _ = write!(text, "# [hosts.NAME]\n# attr = {}\n", toml_text(name));
            }
            text
        }
    }
}

fn usable(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err("nixdeploy has that word itself, the host needs another name".to_owned());
    }
    HostName::new(name).map_err(|e| e.to_string())?;
    AttrName::new(name).map_err(|e| e.to_string())?;
    Address::new(name).map(drop).map_err(|e| e.to_string())
}

fn toml_key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_owned() } else { toml_text(name) }
}

/// On one line, whatever is in it: a line break would leave the comment it may stand in.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fleet::hosts_toml::parse;
    use crate::world::prompt::Prompt;
    use crate::world::{Clock, Conversation, Ended, Environment, Line, Runner, Stream};

    fn own(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let names = own(&["p620", "a.b", "check", "-x", "we\"ird", "x\ny = 1", "_u", "\u{1b}"]);
        let text = render(&names, "~/flake \"x\"");
        let fleet = parse(Path::new("hosts.toml"), &text).expect(&text);
        let hosts: Vec<&str> = fleet.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(hosts, ["p620", "a.b"]);
        assert_eq!(fleet.flake.as_deref(), Some("~/flake \"x\""));
        assert!(text.contains("# \"check\" is left out"), "{text}");
        let text = render(&own(&["a"]), ".");
        assert_eq!(parse(Path::new("hosts.toml"), &text).expect(&text).flake, None);
    }

    proptest::proptest! {
        #[test]
        fn no_name_breaks_the_file(names in proptest::collection::vec(".*", 0..6)) {
            let text = render(&names, ".");
            // A flake's names are a set; twice the same one is no case of ours.
            let set: std::collections::BTreeSet<&String> = names.iter().collect();
            if set.len() == names.len() {
                proptest::prop_assert!(parse(Path::new("x"), &text).is_ok(), "{}", text);
            }
        }
    }

    /// Plays `nix` and remembers how it was called.
    struct Nix {
        says: Vec<Line>,
        ends: Ended,
        asked: Mutex<Vec<Invocation>>,
    }

    impl Runner for Nix {
        fn start(
            &self,
            invocation: Invocation,
        ) -> Pin<Box<dyn Future<Output = Result<Conversation, StartError>> + Send + '_>> {
            self.asked.lock().expect("one thread").push(invocation);
            let (talk, stage) = Conversation::pair();
            let lines = self.says.clone();
            let ends = self.ends;
            Box::pin(async move {
                for line in lines {
                    stage.lines.send(line).await.expect("listening");
                }
                let _ = stage.ended.send(ends);
                Ok(talk)
            })
        }
    }

    fn world(folder: &Path, stream: Stream, says: &str, ends: Ended) -> (World, Arc<Nix>) {
        let says = says.lines().map(|l| Line { stream, text: l.to_owned() }).collect();
        let nix = Arc::new(Nix { says, ends, asked: Mutex::default() });
        let environment =
            Environment { folder: folder.to_path_buf(), ..Environment::read().expect("a home") };
        let world = World {
            runner: nix.clone(),
            clock: Clock::start(),
            environment: Arc::new(environment),
            prompt: Arc::new(Prompt::new(false)),
        };
        (world, nix)
    }

    #[tokio::test]
    async fn it_asks_the_flake_once_and_keeps_what_is_there() {
        let folder = tempfile::tempdir().expect("tmp");
        let (world, nix) = world(folder.path(), Stream::Out, "[\"p620\"]", Ended::Exited(0));
        let (global, args) = (Global::default(), InitArgs::default());
        assert_eq!(run(&world, &global, &args).await.expect("written"), Exit::Done);
        let path = folder.path().join("hosts.toml");
        let text = std::fs::read_to_string(&path).expect("file");
        assert!(text.contains("[hosts.p620]") && text.contains("# flake = "), "{text}");
        let shown = nix.asked.lock().expect("one thread")[0].to_string();
        assert!(shown.ends_with(&format!("{}#nixosConfigurations'", folder.path().display())));

        let error = run(&world, &global, &args).await.expect_err("there already");
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(nix.asked.lock().expect("one thread").len(), 1, "not asked in vain");
        assert_eq!(std::fs::read_to_string(&path).expect("file"), text);
        run(&world, &global, &InitArgs { force: true, ..args }).await.expect("replaced");
    }

    #[tokio::test]
    async fn in_a_folder_of_the_flake_it_is_the_flakes_own_hosts_toml_that_counts() {
        let top = tempfile::tempdir().expect("tmp");
        let (flake, below) = (top.path().join("q"), top.path().join("q/hosts/p620"));
        std::fs::create_dir_all(&below).expect("folders");
        std::fs::write(flake.join("flake.nix"), "{ }").expect("flake");
        let (world, nix) = world(&below, Stream::Out, "[\"p620\"]", Ended::Exited(0));
        let (global, args) = (Global::default(), InitArgs::default());
        run(&world, &global, &args).await.expect("written");
        let own = flake.join("hosts.toml");
        assert!(own.exists() && !below.join("hosts.toml").exists());
        let shown = nix.asked.lock().expect("one thread")[0].to_string();
        assert!(shown.ends_with(&format!("{}#nixosConfigurations'", flake.display())), "{shown}");
        let error = run(&world, &global, &args).await.expect_err("there already").to_string();
        assert!(error.contains(&format!("{} is there already", own.display())), "{error}");
        run(&world, &global, &InitArgs { force: true, ..args }).await.expect("replaced");
        assert!(flake.join("hosts.toml.old").exists() && !below.join("hosts.toml").exists());

        // Another fleet's, further up, is no reason against one of this flake.
        std::fs::rename(&own, top.path().join("hosts.toml")).expect("moved");
        run(&world, &global, &InitArgs::default()).await.expect("written");
        assert!(own.exists());
    }

    #[tokio::test]
    async fn a_flake_that_does_not_evaluate_is_told_in_nixs_words() {
        let folder = tempfile::tempdir().expect("tmp");
        let says = "warning: dirty\nerror: does not \u{1b}[31mprovide attribute\n";
        let (world, _) = world(folder.path(), Stream::Err, says, Ended::Exited(1));
        let error = run(&world, &Global::default(), &InitArgs::default()).await.expect_err("nix");
        assert_eq!(error.exit, Exit::NotBuilt);
        assert!(error.causes[0].contains("error: does not \\u{1b}"), "{error}");
        assert!(!folder.path().join("hosts.toml").exists());
    }
}
