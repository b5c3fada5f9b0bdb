//! What a recipe's lines do, by the programs that they name: never run, only read.

/// A command of ours that does what a line does, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Does {
    /// Typed after `nixdeploy`.
    Command(String),
    /// Another recipe of the file.
    Recipe(String),
    /// Nothing takes it over; the reason, for what is near.
    Stays(String, Option<&'static str>),
}

/// Where output goes, and what binds commands: each begins a new one.
const BREAKS: [&str; 9] = ["&&", "||", ";", "|", "&", "(", ")", "{", "}"];
/// Words before the program itself.
const BEFORE: [&str; 16] = [
    "@", "!", "sudo", "doas", "time", "exec", "nice", "env", "if", "then", "else", "do", "while",
    "until", "command", "-",
];
/// Words that start nothing worth telling.
const QUIET: [&str; 32] = [
    "echo", "printf", "set", "cd", "exit", "true", "false", "fi", "done", "for", "case", "esac",
    "wait", "local", "export", "sleep", "read", "test", "[", "[[", "return", "shift", "trap",
    "date", "head", "tail", "grep", "sort", "wc", "cat", "in", "function",
];

/// Programs that others start for each file or host.
const STARTED: [&str; 5] = ["nix-instantiate", "nix", "nixos-rebuild", "just", "ssh"];

/// What the lines do, each thing once, in their order.
pub(super) fn does(lines: &[String], parameters: &[String]) -> Vec<Does> {
    let mut found: Vec<Does> = Vec::new();
    let mut whole = String::new();
    for line in lines.iter().filter(|l| !l.starts_with('#')) {
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        for words in commands(&std::mem::take(&mut whole)) {
            let words: Vec<String> = words.iter().map(|w| filled(w, parameters)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            found.extend(program(&words, None));
        }
    }
    let mut once: Vec<Does> = Vec::new();
    for done in found {
        if !once.contains(&done) {
            once.push(done);
        }
    }
    once
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

/// A parameter in `{{ }}` or after `$` is written as the help writes values: HOST.
fn filled(word: &str, parameters: &[String]) -> String {
    let mut text = word.to_owned();
    while let (Some(begin), Some(end)) = (text.find("{{"), text.find("}}")) {
        if end < begin {
            break;
        }
        let name = text[begin + 2..end].trim().to_ascii_uppercase();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if plain && !name.is_empty() { name } else { "HOST".to_owned() };
        text.replace_range(begin..end + 2, &name);
    }
    for name in parameters.iter().map(|p| p.trim_start_matches(['?', '+', '*'])) {
        for form in [format!("${{{name}}}"), format!("${name}")] {
            text = text.replace(&form, &name.to_ascii_uppercase());
        }
    }
    match text.strip_prefix('$') {
        Some(name) => name.trim_matches(['{', '}']).to_ascii_uppercase(),
        None => text,
    }
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

fn program(words: &[&str], on: Option<&str>) -> Option<Does> {
    let (first, rest) = words.split_first()?;
    let name = first.rsplit('/').next().unwrap_or(first);
    let command = |text: String| Some(Does::Command(text));
    let stays = |why| Some(Does::Stays(name.to_owned(), Some(why)));
    match name {
        "just" => {
            let recipe = rest.iter().find(|w| !w.starts_with('-'))?;
            Some(Does::Recipe((*recipe).to_owned()))
        }
        "ssh" => {
            let host = rest.iter().find(|w| !w.starts_with('-') && !w.contains('='))?;
            let at = rest.iter().position(|w| w == host)? + 1;
            let inner: Vec<&str> =
                rest[at..].iter().copied().skip_while(|w| BEFORE.contains(w)).collect();
            program(&inner, Some(machine(host)))
                .or_else(|| stays("nixdeploy runs no commands of yours"))
        }
        // What they start stands among their words.
        "find" | "xargs" | "parallel" | "timeout" => {
            let at = rest.iter().position(|w| STARTED.contains(w));
            at.map_or_else(|| program(&[], on), |at| program(&rest[at..], on))
        }
        "nixos-rebuild" | "nixos-rebuild-ng" => command(rebuild(rest, on)?),
        "nh" => nh(rest, on),
        "colmena" => colmena(rest),
        "deploy" => {
            command(format!("deploy {}", rest.iter().find_map(|w| attribute(w)).unwrap_or("all")))
        }
        "switch-to-configuration" => command(format!("deploy {}", on.unwrap_or("HOST"))),
        "nix" => nix(rest, on),
        "nix-instantiate" if rest.contains(&"--parse") => command("check-syntax".to_owned()),
        "statix" | "deadnix" => command("check".to_owned()),
        "nvd" => command(format!("diff {}", on.unwrap_or("HOST"))),
        "ping" => command("ping-hosts".to_owned()),
        "systemctl"
            if on.is_some()
                && rest.iter().any(|w| w.contains("failed") || w.contains("is-system-running")) =>
        {
            command(format!("status {}", on.unwrap_or("HOST")))
        }
        "journalctl" if on.is_some() => stays("nixdeploy logs HOST shows what a run met, no more"),
        "nix-collect-garbage" => {
            stays("garbage is collected where space is missing, never with -d")
        }
        name if QUIET.contains(&name) || name.starts_with('-') => None,
        name if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c)) => None,
        name => Some(Does::Stays(name.to_owned(), None)),
    }
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

fn nh(words: &[&str], on: Option<&str>) -> Option<Does> {
    let host = flag(words, "--hostname").or(flag(words, "-H"));
    let host = host.or(on).unwrap_or("HOST");
    if words.first() != Some(&"os") {
        return Some(Does::Stays("nh".to_owned(), None));
    }
    let command = match *words.get(1)? {
        "switch" | "test" if words.contains(&"--update") || words.contains(&"-u") => {
            format!("update flake --host {host}")
        }
        "switch" | "test" => format!("deploy {host}"),
        "boot" => format!("deploy {host} --boot"),
        "build" => format!("test-host {host}"),
        "rollback" => format!("rollback {host}"),
        _ => return Some(Does::Stays("nh".to_owned(), None)),
    };
    Some(Does::Command(command))
}

fn colmena(words: &[&str]) -> Option<Does> {
    let on = flag(words, "--on").unwrap_or("all").replace(',', " ");
    let action = words.iter().find(|w| !w.starts_with('-'))?;
    let command = match *action {
        "apply" if words.contains(&"boot") => format!("deploy {on} --boot"),
        "apply" if words.contains(&"dry-activate") => format!("deploy {on} --dry-run"),
        "apply" | "apply-local" => format!("deploy {on}"),
        "build" => format!("build {on}"),
        _ => return Some(Does::Stays("colmena".to_owned(), None)),
    };
    Some(Does::Command(command))
}

fn nix(words: &[&str], on: Option<&str>) -> Option<Does> {
    let plain: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with('-')).collect();
    let command = |text: String| Some(Does::Command(text));
    let stays = |why| Some(Does::Stays("nix".to_owned(), why));
    match plain.as_slice() {
        ["flake", "update", inputs @ ..] => {
            command(["update", "flake"].iter().chain(inputs).copied().collect::<Vec<_>>().join(" "))
        }
        ["flake", "lock", ..] => {
            let input = flag(words, "--update-input").unwrap_or_default();
            command(format!("update flake {input}").trim_end().to_owned())
        }
        ["flake", "check", ..] => command("validate".to_owned()),
        ["build", rest @ ..] if rest.iter().any(|w| w.contains("nixosConfigurations")) => {
            let host = rest.iter().find_map(|w| attribute(w)).unwrap_or("HOST");
            command(format!("test-host {host}"))
        }
        ["store", "diff-closures", ..] => command(format!("diff {}", on.unwrap_or("HOST"))),
        ["store", "gc", ..] => stays(Some("garbage is collected where space is missing")),
        ["copy", ..] => stays(Some("every deploy copies what its host lacks")),
        ["run", what, ..] if what.contains("deploy-rs") => command("deploy HOST".to_owned()),
        ["run", what, ..] if what.contains("colmena") => colmena(words.get(2..)?),
        _ => stays(None),
    }
}
