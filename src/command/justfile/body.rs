//! What a recipe's lines do, by the programs that they name: never run, only read.

/// A command of ours that does what a line does, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Does {
    /// Typed after `nixdeploy`.
    Command(String),
    /// Another recipe of the file, and what it is given.
    Recipe(String, Vec<String>),
    /// Nothing takes it over; the reason, for what is near.
    Stays(String, Option<&'static str>),
    /// Words of a command that is taken over, which nothing takes over.
    Words(String),
}

/// What the names in `{{ }}` stand for where a recipe is called.
pub(super) type Given = Vec<(String, String)>;

/// Words of nixos-rebuild that are followed by a value, and what a deploy makes of them.
const REBUILD_VALUES: [&str; 3] = ["--flake", "--target-host", "--build-host"];
/// Words of nixos-rebuild without a value that a deploy has no need of, or does anyway.
pub(super) const REBUILD_PLAIN: [&str; 16] = [
    "--rollback",
    "--fast",
    "--no-reexec",
    "--no-build-nix",
    "--use-remote-sudo",
    "--sudo",
    "--ask-sudo-password",
    "-S",
    "--use-substitutes",
    "-s",
    "--show-trace",
    "--print-build-logs",
    "-L",
    "--verbose",
    "-v",
    "--keep-going",
];
/// The same of `nix`: how much it says.
const NIX_PLAIN: [&str; 6] =
    ["--show-trace", "--print-build-logs", "-L", "--verbose", "-v", "--keep-going"];

/// Where output goes, and what binds commands: each begins a new one.
const BREAKS: [&str; 9] = ["&&", "||", ";", "|", "&", "(", ")", "{", "}"];
/// Words before the program itself.
const BEFORE: [&str; 16] = [
    "@", "!", "sudo", "doas", "time", "exec", "nice", "env", "if", "then", "else", "do", "while",
    "until", "command", "-",
];
/// Words that start nothing worth telling.
const QUIET: [&str; 45] = [
    "echo", "printf", "set", "cd", "exit", "true", "false", "fi", "done", "for", "case", "esac",
    "wait", "local", "export", "sleep", "read", "test", "[", "[[", "return", "shift", "trap",
    "date", "head", "tail", "grep", "sort", "wc", "cat", "in", "function", "readlink", "realpath",
    "ls", "hostname", "uname", "basename", "dirname", "cut", "tr", "uniq", "which", "whoami", "jq",
];

/// Programs that others start for each file or host.
const STARTED: [&str; 5] = ["nix-instantiate", "nix", "nixos-rebuild", "just", "ssh"];

/// What the lines do, each thing once, in their order, each with the line that it is of.
pub(super) fn does(lines: &[String], given: &Given) -> Vec<(Does, String)> {
    let mut found: Vec<(Does, String)> = Vec::new();
    let mut whole = String::new();
    for line in lines.iter().filter(|l| !l.starts_with('#')) {
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        let line = std::mem::take(&mut whole);
        for words in commands(&line) {
            let words: Vec<String> = words.iter().map(|w| filled(w, given)).collect();
            let words: Vec<&str> = words.iter().flat_map(|w| w.split_whitespace()).collect();
            for does in program(&words, None) {
                if found.iter().all(|(known, _)| *known != does) {
                    found.push((does, shown(&line, given)));
                }
            }
        }
    }
    found
}

/// A line as it is told: without the signs before it, with what is given.
fn shown(line: &str, given: &Given) -> String {
    let words = joined(line.trim_start_matches(['@', '-']));
    let words = words.iter().map(|word| filled(word, given));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The commands of a line as words, without what stands before the program.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim_start_matches(['@', '-']);
    let mut spaced = line.replace(';', " ; ").replace("$(", "(").replace('`', " ( ");
    spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    for sign in ["&&", "||"] {
        spaced = spaced.replace(sign, &format!(" {sign} "));
    }
    let mut commands = vec![Vec::new()];
    for word in joined(&spaced) {
        if BREAKS.contains(&word.as_str()) {
            commands.push(Vec::new());
            continue;
        }
        let Some(last) = commands.last_mut() else { continue };
        let word = word.trim_matches(['"', '\'', ')']).to_owned();
        let assigned = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        });
        let before = BEFORE.contains(&word.as_str()) || assigned;
        if !(word.is_empty() || last.is_empty() && before) {
            last.push(word);
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

/// Words; what stands in `{{ }}` is one whatever is in it.
fn joined(line: &str) -> Vec<String> {
    let (mut words, mut open) = (Vec::<String>::new(), false);
    for part in line.split_whitespace() {
        match words.last_mut().filter(|_| open) {
            Some(last) => last.push_str(part),
            None => words.push(part.to_owned()),
        }
        open = words.last().is_some_and(|w| w.rfind("{{") > w.rfind("}}"));
    }
    words
}

/// A name in `{{ }}` or after `$` is what was given for it, else written as the help writes
/// values: HOST.
pub(super) fn filled(word: &str, given: &Given) -> String {
    let value = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inner, behind)) = after.split_once("}}") else { break };
        text.push_str(before);
        let name = inner.trim();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let unknown = if plain && !name.is_empty() { name } else { "HOST" };
        text.push_str(&value(name).unwrap_or_else(|| unknown.to_ascii_uppercase()));
        rest = behind;
    }
    text.push_str(rest);
    for (name, value) in given {
        for form in [format!("${{{name}}}"), format!("${name}")] {
            text = text.replace(&form, value);
        }
    }
    match text.strip_prefix('$') {
        Some(name) => name.trim_matches(['{', '}']).to_ascii_uppercase(),
        None => text,
    }
}

/// Words that are neither the action nor known, with what follows a flag that takes a value.
fn left_over(words: &[&str], values: &[&str], plain: &[&str], actions: usize) -> Option<Does> {
    let (mut left, mut words, mut seen) = (Vec::new(), words.iter().copied(), 0);
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or(word);
        if word.contains('>') {
            // Where output goes; `2> FILE` is two words.
            words.next().filter(|_| word.ends_with('>'));
        } else if values.contains(&name) {
            words.next().filter(|_| name == word);
        } else if !word.starts_with('-') && seen < actions {
            seen += 1;
        } else if !plain.contains(&word) {
            left.push(word);
        }
    }
    (!left.is_empty()).then(|| Does::Words(left.join(" ")))
}

/// The value of a flag, in either way of writing it.
fn flag<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let after = words.iter().position(|w| *w == name).and_then(|n| words.get(n + 1)).copied();
    after.or_else(|| words.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('=')))
}

/// The attribute of `FLAKE#ATTR`, as a host's name.
fn attribute(reference: &str) -> Option<&str> {
    let after = reference.split_once('#')?.1;
    let after = after.strip_prefix("nixosConfigurations.").unwrap_or(after);
    let name = after.split('.').next().unwrap_or(after).trim_matches(['"', '\'']);
    (!name.is_empty()).then_some(name)
}

/// `admin@p620` without the user.
fn machine(address: &str) -> &str {
    let address = address.strip_prefix("ssh://").unwrap_or(address);
    address.rsplit('@').next().unwrap_or(address)
}

fn program(words: &[&str], on: Option<&str>) -> Vec<Does> {
    // A line may begin with where the output of the one before goes.
    let words: Vec<&str> = words.iter().copied().skip_while(|w| w.contains('>')).collect();
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let name = first.rsplit('/').next().unwrap_or(first);
    let command = |text: String| vec![Does::Command(text)];
    let stays = |why| vec![Does::Stays(name.to_owned(), why)];
    match name {
        "just" => {
            let mut named = rest.iter().skip_while(|w| w.starts_with('-'));
            let Some(recipe) = named.next() else { return Vec::new() };
            vec![Does::Recipe((*recipe).to_owned(), named.map(|w| (*w).to_owned()).collect())]
        }
        "ssh" => over_ssh(rest),
        // What they start stands among their words.
        "find" | "xargs" | "parallel" | "timeout" => {
            let at = rest.iter().position(|w| STARTED.contains(w));
            at.map_or_else(Vec::new, |at| program(&rest[at..], on))
        }
        "nixos-rebuild" | "nixos-rebuild-ng" => {
            let Some(text) = rebuild(rest, on) else { return stays(None) };
            let left = left_over(rest, &REBUILD_VALUES, &REBUILD_PLAIN, 1);
            std::iter::once(Does::Command(text)).chain(left).collect()
        }
        "nh" => nh(rest, on),
        "colmena" => colmena(rest),
        "deploy" => {
            let host = rest.iter().find_map(|w| attribute(w)).unwrap_or("all");
            let left = left_over(rest, &[], &[], 1);
            command(format!("deploy {host}")).into_iter().chain(left).collect()
        }
        "switch-to-configuration" => command(format!("deploy {}", on.unwrap_or("HOST"))),
        "nix" => nix(rest, on),
        "nix-instantiate" if rest.contains(&"--parse") => command("check-syntax".to_owned()),
        "statix" | "deadnix" => stays(Some("nixdeploy check has rules of its own")),
        "nvd" => command(format!("diff {}", on.unwrap_or("HOST"))),
        "ping" => command("ping-hosts".to_owned()),
        "systemctl"
            if on.is_some()
                && rest.iter().any(|w| w.contains("failed") || w.contains("is-system-running")) =>
        {
            command(format!("status {}", on.unwrap_or("HOST")))
        }
        "journalctl" if on.is_some() => {
            stays(Some("nixdeploy logs HOST shows what a run met, no more"))
        }
        "nix-collect-garbage" => {
            stays(Some("garbage is collected where space is missing, never with -d"))
        }
        name if QUIET.contains(&name) || name.starts_with('-') => Vec::new(),
        name if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c)) => {
            Vec::new()
        }
        _ => stays(None),
    }
}

/// What is run on a host; a look at it alone is nothing that would be missed.
fn over_ssh(words: &[&str]) -> Vec<Does> {
    let own = || vec![Does::Stays("ssh".to_owned(), Some("nixdeploy runs no commands of yours"))];
    let host = words.iter().position(|w| !w.starts_with('-') && !w.contains('='));
    let Some(at) = host else { return own() };
    let inner: Vec<&str> =
        words[at + 1..].iter().copied().skip_while(|w| BEFORE.contains(w)).collect();
    let looks = inner.first().is_some_and(|first| QUIET.contains(first));
    let found = program(&inner, Some(machine(words[at])));
    if found.is_empty() && !looks { own() } else { found }
}

fn rebuild(words: &[&str], on: Option<&str>) -> Option<String> {
    let target = flag(words, "--target-host").map(machine);
    let named = flag(words, "--flake").and_then(attribute);
    let host = named.or(target).or(on).unwrap_or("HOST");
    if words.contains(&"--rollback") {
        return Some(format!("rollback {host}"));
    }
    let place = match flag(words, "--build-host").map(machine) {
        Some("localhost" | "") | None => "",
        builder if builder == target || builder == Some(host) => " --build-on target",
        Some(builder) => return Some(format!("deploy-via {builder} {host}")),
    };
    let action = words.iter().find(|w| !w.starts_with('-'))?;
    Some(match *action {
        "switch" | "test" => format!("deploy {host}{place}"),
        "boot" => format!("deploy {host} --boot{place}"),
        "build" => format!("test-host {host}{place}"),
        "dry-build" | "dry-activate" | "dry-run" => format!("deploy {host} --dry-run{place}"),
        "list-generations" => format!("status {host}"),
        _ => return None,
    })
}

fn nh(words: &[&str], on: Option<&str>) -> Vec<Does> {
    let host = flag(words, "--hostname").or(flag(words, "-H"));
    let host = host.or(on).unwrap_or("HOST");
    let none = || vec![Does::Stays("nh".to_owned(), None)];
    let [first, action, rest @ ..] = words else { return none() };
    let command = match *action {
        _ if *first != "os" => return none(),
        "switch" | "test" if words.contains(&"--update") || words.contains(&"-u") => {
            format!("update flake --host {host}")
        }
        "switch" | "test" => format!("deploy {host}"),
        "boot" => format!("deploy {host} --boot"),
        "build" => format!("test-host {host}"),
        "rollback" => format!("rollback {host}"),
        _ => return none(),
    };
    let known = ["--update", "-u", "--ask", "-a", "--no-nom", "--verbose", "-v"];
    let left = left_over(rest, &["--hostname", "-H"], &known, 1);
    std::iter::once(Does::Command(command)).chain(left).collect()
}

fn colmena(words: &[&str]) -> Vec<Does> {
    let on = flag(words, "--on").unwrap_or("all").replace(',', " ");
    let none = || vec![Does::Stays("colmena".to_owned(), None)];
    let Some(action) = words.iter().find(|w| !w.starts_with('-')) else { return none() };
    let command = match *action {
        "apply" if words.contains(&"boot") => format!("deploy {on} --boot"),
        "apply" if words.contains(&"dry-activate") => format!("deploy {on} --dry-run"),
        "apply" | "apply-local" => format!("deploy {on}"),
        "build" => format!("build {on}"),
        _ => return none(),
    };
    let known = ["--show-trace", "--verbose", "-v", "--sudo"];
    let left = left_over(words, &["--on"], &known, 2);
    std::iter::once(Does::Command(command)).chain(left).collect()
}

fn nix(words: &[&str], on: Option<&str>) -> Vec<Does> {
    let plain: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with('-')).collect();
    let command = |text: String, left: Option<Does>| {
        std::iter::once(Does::Command(text)).chain(left).collect()
    };
    let stays = |why| vec![Does::Stays("nix".to_owned(), why)];
    match plain.as_slice() {
        ["flake", "update", inputs @ ..] => {
            let named: String = inputs.iter().map(|input| format!("{input} ")).collect();
            let left = left_over(words, &[], &NIX_PLAIN, plain.len());
            command(format!("update flake {named}--no-deploy"), left)
        }
        ["flake", "lock", ..] => {
            let Some(input) = flag(words, "--update-input") else { return stays(None) };
            let left = left_over(words, &["--update-input"], &NIX_PLAIN, 2);
            command(format!("update flake {input} --no-deploy"), left)
        }
        ["flake", "check", ..] => {
            command("validate".to_owned(), left_over(words, &[], &NIX_PLAIN, 2))
        }
        // An image, a virtual machine or a package is no system of a host.
        ["build", rest @ ..] if rest.iter().any(|w| w.ends_with(".system.build.toplevel")) => {
            let host = rest.iter().find_map(|w| attribute(w)).unwrap_or("HOST");
            command(format!("test-host {host}"), None)
        }
        ["store", "diff-closures", ..] => command(format!("diff {}", on.unwrap_or("HOST")), None),
        ["store", "gc", ..] => stays(Some("garbage is collected where space is missing")),
        ["copy", ..] => stays(Some("every deploy copies what its host lacks")),
        ["run", what, ..] if what.contains("deploy-rs") => command("deploy HOST".to_owned(), None),
        ["run", what, ..] if what.contains("colmena") => {
            let at = words.iter().position(|w| w == what).map_or(words.len(), |at| at + 1);
            colmena(&words[at..])
        }
        _ => stays(None),
    }
}
