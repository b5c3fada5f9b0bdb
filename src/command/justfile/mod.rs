//! `init --from-justfile [FILE]`: recipe by recipe, which command takes it over, and what has
//! none.

mod body;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::body::{Does, Given};
use self::reader::{Justfile, Need, Recipe};
use crate::cli::{self, Global, command_names};
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::report::look::count;
use crate::world::{Environment, files};

/// Names that just looks for, in its order.
const NAMES: [&str; 3] = ["justfile", "Justfile", ".justfile"];
/// A large justfile is some hundred KiB.
const LARGEST: u64 = 4 << 20;
/// Files that are imported, at most.
const FILES: usize = 64;
/// How far recipes are followed that call others.
const DEPTH: usize = 64;

/// What is said of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Told {
    /// Its name.
    recipe: String,
    /// Its parameters as the help writes values.
    parameters: Vec<String>,
    /// The file it is in.
    file: String,
    /// Its line, from 1.
    line: usize,
    /// What to type instead, after `nixdeploy`, in this order; empty: nothing takes it over.
    commands: Vec<String>,
    /// `name`: it has the name of a command; `lines`: by what its lines start; absent: neither.
    by: Option<&'static str>,
    /// The commands do all that the recipe does.
    whole: bool,
    /// What it does beyond the commands.
    stays: Vec<Stays>,
}

/// What nothing takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Stays {
    /// The program, or words of one.
    what: String,
    /// The line of the recipe.
    line: String,
    /// What is near.
    why: Option<&'static str>,
}

/// A recipe with the name of a command does that; what of these its lines do beside it, is more.
const MORE: [&str; 3] = ["update", "rollback", "validate"];
/// How much of a line is shown.
const LINE: usize = 80;

#[derive(Debug, Default)]
struct Book {
    /// Each with the file it is in, as it is shown.
    recipes: Vec<(Recipe, String)>,
    aliases: Vec<(String, String)>,
    modules: Vec<String>,
    strange: Vec<String>,
}

/// Reads the recipes and says of each what takes it over. Nothing is executed and nothing written.
///
/// # Errors
/// When there is no justfile, or it cannot be read.
pub(super) fn run(
    environment: &Environment,
    global: &Global,
    file: Option<&Path>,
) -> Result<Exit, Error> {
    let path = locate(environment, file.filter(|f| *f != Path::new(".")))?;
    let book = book(&path, &environment.folder)?;
    let told = tell(&book);
    let shown = path.strip_prefix(&environment.folder).unwrap_or(&path).display().to_string();
    super::report::show(&match global.format() {
        crate::cli::Format::Json => document(&shown, &book, &told),
        _ => page(&shown, &book, &told),
    })
}

fn locate(environment: &Environment, file: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(file) = file {
        let path = environment.expand(&file.to_string_lossy(), &environment.folder);
        if !path.is_dir() {
            return Ok(path);
        }
        let there = NAMES.map(|name| path.join(name)).into_iter().find(|p| p.is_file());
        return there.ok_or_else(|| {
            let shown = harmless::line(&path.to_string_lossy());
            Error::usage(format!("no justfile in {shown}"))
                .hint("name it: nixdeploy init --from-justfile FILE")
        });
    }
    let folders = environment.folder.ancestors();
    let mut found = folders.flat_map(|f| NAMES.map(|name| f.join(name))).filter(|p| p.is_file());
    found.next().ok_or_else(|| {
        Error::usage("no justfile here or in a folder above")
            .hint("name it: nixdeploy init --from-justfile FILE")
    })
}

/// The file and everything that it imports; of two recipes with a name the outer one counts.
fn book(path: &Path, folder: &Path) -> Result<Book, Error> {
    let (mut book, mut seen) = (Book::default(), BTreeSet::new());
    let mut queue = vec![(path.to_owned(), false)];
    let mut at = 0;
    while let Some((path, optional)) = queue.get(at).cloned() {
        at += 1;
        if at > FILES || !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue;
        }
        let text = match files::read_text(&path, LARGEST) {
            Ok(text) => text,
            Err(_) if optional => continue,
            Err(error) => {
                let sentence = format!("cannot read {}", harmless::line(&path.to_string_lossy()));
                let told = Error::usage(sentence).because(error);
                return Err(told.hint("name it: nixdeploy init --from-justfile FILE"));
            }
        };
        let read = reader::read(&text);
        let shown = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        book.add(read, &shown, |import| {
            let beside = path.parent().unwrap_or_else(|| Path::new("/"));
            queue.push((beside.join(&import.0), import.1));
        });
    }
    Ok(book)
}

impl Book {
    fn add(&mut self, read: Justfile, shown: &str, mut import: impl FnMut((String, bool))) {
        for recipe in read.recipes.into_iter().filter(|r| !r.foreign) {
            if self.recipe(&recipe.name).is_none() {
                self.recipes.push((recipe, shown.to_owned()));
            }
        }
        self.aliases.extend(read.aliases);
        self.modules.extend(read.modules);
        self.strange.extend(read.strange.iter().map(|line| format!("{shown}:{line}")));
        read.imports.into_iter().for_each(&mut import);
    }

    fn recipe(&self, name: &str) -> Option<&Recipe> {
        self.recipes.iter().map(|(recipe, _)| recipe).find(|recipe| recipe.name == name)
    }
}

fn tell(book: &Book) -> Vec<Told> {
    let mut known = Known::new();
    let listed = book.recipes.iter().filter(|(recipe, _)| !recipe.private);
    let told = listed.map(|(recipe, file)| {
        let mut told = Told {
            recipe: recipe.name.clone(),
            file: file.clone(),
            line: recipe.line,
            parameters: recipe.parameters.iter().map(|p| value_name(p)).collect(),
            ..call(book, recipe, &[], DEPTH, &mut known)
        };
        let named = command_of(recipe, &[]).is_some();
        told.by = (!told.commands.is_empty()).then_some(if named { "name" } else { "lines" });
        told.whole = !told.commands.is_empty() && told.stays.is_empty();
        told
    });
    told.collect()
}

/// `+hosts` is written HOSTS in a help.
fn value_name(parameter: &str) -> String {
    parameter.trim_start_matches(['?', '+', '*']).to_ascii_uppercase()
}

/// What each parameter is when a recipe is called with these; when nothing is given, its name as
/// the help writes it.
fn given(recipe: &Recipe, arguments: &[String]) -> Given {
    let of = |(n, parameter): (usize, &String)| {
        let rest = parameter.trim_start_matches('?').starts_with(['+', '*']);
        let value = match arguments.get(n..).filter(|all| !all.is_empty()) {
            Some(all) if rest => all.join(" "),
            Some(all) => all[0].clone(),
            None if rest && !arguments.is_empty() => String::new(),
            None => value_name(parameter),
        };
        (parameter.trim_start_matches(['?', '+', '*']).to_owned(), value)
    };
    recipe.parameters.iter().enumerate().map(of).collect()
}

/// A command with the recipe's name, and what of the arguments it does not take. A common word may
/// mean anything: then its lines must speak of NixOS too. Parameters that have a default, or may
/// be nothing, are left to the command's own.
fn command_of(recipe: &Recipe, arguments: &[String]) -> Option<(String, Vec<String>)> {
    let name = recipe.name.replace('_', "-");
    let ours = command_names().contains(&name) || name == "emergency-deploy";
    let own = name.contains('-') || ["deploy", "emergency", "rollback"].contains(&name.as_str());
    let nixos =
        |line: &String| ["nixos", "nh os", "nixosConfigurations"].iter().any(|w| line.contains(w));
    if !ours || !(own || recipe.body.iter().any(nixos)) {
        return None;
    }
    let given = given(recipe, arguments);
    let needed = recipe.parameters.iter().filter(|p| !p.starts_with(['?', '*'])).count();
    let fits = |line: &String| {
        let words = std::iter::once("nixdeploy").chain(line.split(' ')).map(Into::into);
        cli::parse(words).is_ok()
    };
    let given = given.iter().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    let given: Vec<&str> = given.take(arguments.len().max(needed)).collect();
    let counts = [given.len(), needed, 0].map(|count| count.min(given.len()));
    let line = |count: usize| {
        std::iter::once(name.as_str()).chain(given[..count].iter().copied()).collect::<Vec<_>>()
    };
    let count = counts.into_iter().find(|count| fits(&line(*count).join(" ")))?;
    let left = given[count..].iter().flat_map(|value| value.split_whitespace());
    let left = left.filter(|word| !body::REBUILD_PLAIN.contains(word) && !arguments.is_empty());
    Some((line(count).join(" "), left.map(str::to_owned).collect()))
}

/// What is known of recipes with their arguments, so that each is read once, however many call it.
type Known = BTreeMap<(String, Vec<String>), Told>;

/// What comes of calling a recipe with these arguments; of one that calls itself, nothing more.
fn call(
    book: &Book,
    recipe: &Recipe,
    arguments: &[String],
    depth: usize,
    known: &mut Known,
) -> Told {
    let key = (recipe.name.clone(), arguments.to_vec());
    if let Some(told) = known.get(&key) {
        return told.clone();
    }
    known.insert(key.clone(), Told::default());
    let told = read(book, recipe, arguments, depth, known);
    known.insert(key, told.clone());
    told
}

fn read(
    book: &Book,
    recipe: &Recipe,
    arguments: &[String],
    depth: usize,
    known: &mut Known,
) -> Told {
    let beside = gather(book, recipe, arguments, depth, known);
    let Some((command, left)) = command_of(recipe, arguments) else { return beside };
    let mut told = Told::default();
    let verb = |command: &str| command.split(' ').next().unwrap_or_default().to_owned();
    let own = verb(&command);
    let whole = std::iter::once(&recipe.name).chain(arguments).cloned().collect::<Vec<_>>();
    let left = left.into_iter().map(|what| Stays { what, line: whole.join(" "), why: None });
    told.stay(left);
    for other in beside.commands.iter().filter(|c| verb(c) != own) {
        let verb = verb(other);
        if MORE.contains(&verb.as_str()) {
            let line = format!("what `nixdeploy {other}` does");
            told.stay([Stays { what: verb, line, why: None }]);
        }
    }
    // Its words for nixos-rebuild are not those of the command that has its name.
    told.stay(beside.stays.into_iter().filter(|s| !s.what.starts_with('-')));
    told.take(command);
    told
}

impl Told {
    fn take(&mut self, command: String) {
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
    }

    fn stay(&mut self, stays: impl IntoIterator<Item = Stays>) {
        for stays in stays {
            let known = |k: &Stays| k.line == stays.line && k.why == stays.why;
            if !self.stays.iter().any(known) {
                self.stays.push(stays);
            }
        }
    }
}

/// What the lines of a recipe do, and those that it calls.
fn gather(
    book: &Book,
    recipe: &Recipe,
    arguments: &[String],
    depth: usize,
    known: &mut Known,
) -> Told {
    let mut told = Told::default();
    let given = given(recipe, arguments);
    let need = |need: &Need| {
        let arguments = need.arguments.iter().map(|a| body::filled(a, &given)).collect::<Vec<_>>();
        let line = [std::slice::from_ref(&need.name), &arguments].concat().join(" ");
        (Does::Recipe(need.name.clone(), arguments), line)
    };
    let (after, before): (Vec<&Need>, Vec<&Need>) = recipe.needs.iter().partition(|n| n.after);
    let several = recipe.parameters.iter().filter(|p| p.trim_start_matches('?').starts_with('*'));
    let several: Vec<String> = several.map(|p| value_name(p)).collect();
    let lines = body::does(&recipe.body, &given);
    let all = before.into_iter().map(need).chain(lines).chain(after.into_iter().map(need));
    for (does, line) in all.collect::<Vec<_>>() {
        match does {
            Does::Command(command) => told.take(command),
            Does::Stays(what, why) => told.stay([Stays { what, line, why }]),
            // Told once, below.
            Does::Words(what) if several.contains(&what) => {}
            Does::Words(what) => told.stay([Stays { what, line, why: None }]),
            Does::Recipe(name, arguments) => {
                let alias = book.aliases.iter().find(|(a, _)| *a == name);
                let name = alias.map_or(name, |a| a.1.clone());
                match book.recipe(&name).filter(|_| depth > 0) {
                    Some(called) => {
                        let called = call(book, called, &arguments, depth - 1, known);
                        called.commands.into_iter().for_each(|command| told.take(command));
                        told.stay(called.stays);
                    }
                    // Which one it is, only its host tells.
                    None if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {}
                    None => told.stay([Stays { what: "just".to_owned(), line, why: None }]),
                }
            }
        }
    }
    for name in several.into_iter().filter(|_| arguments.is_empty()) {
        let used = |command: &String| command.split(' ').any(|word| word == name);
        let own = format!("{{{{{name}}}}}");
        let has = |line: &String| line.replace(' ', "").to_ascii_uppercase().contains(&own);
        if recipe.body.iter().any(has) && !told.commands.iter().any(used) {
            let why = Some("the flags of nixdeploy are its own");
            told.stay([Stays { what: name.clone(), line: name, why }]);
        }
    }
    told
}

fn document(shown: &str, book: &Book, told: &[Told]) -> String {
    let document = serde_json::json!({
        "schema": crate::report::json::SCHEMA,
        "file": shown,
        "recipes": told,
        "aliases": book.aliases,
        "modules": book.modules,
        "not_understood": book.strange,
    });
    format!("{document}\n")
}

fn page(shown: &str, book: &Book, told: &[Told]) -> String {
    let taken = told.iter().filter(|t| t.whole).count();
    let part = told.iter().filter(|t| !t.whole && !t.commands.is_empty()).count();
    let recipes = count(told.len(), "recipe", "recipes");
    let mut text = format!("{}: {recipes}, {taken} taken over", harmless::line(shown));
    text.push_str(&if part > 0 { format!(", {part} in part\n\n") } else { "\n\n".to_owned() });
    let names: Vec<String> = told
        .iter()
        .map(|t| [std::slice::from_ref(&t.recipe), &t.parameters].concat().join(" "))
        .collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(30);
    for (told, name) in told.iter().zip(&names) {
        for (n, line) in said(told).iter().enumerate() {
            let name = if n == 0 { harmless::line(name) } else { String::new() };
            let _ = writeln!(text, "  {name:width$}  {}", harmless::line(line));
        }
        for stays in told.stays.iter().filter(|_| !told.commands.is_empty()) {
            let line: String = stays.line.chars().take(LINE).collect();
            let cut = if stays.line.chars().count() > LINE { " ..." } else { "" };
            let of = if line.contains(&stays.what) { "" } else { stays.what.as_str() };
            let of = if of.is_empty() { String::new() } else { format!("{of}: ") };
            let _ = writeln!(text, "      not: {}", harmless::line(&format!("{of}{line}{cut}")));
        }
        for stays in &told.stays {
            if let Some(why) = stays.why {
                let _ = writeln!(text, "      {}: {why}", harmless::line(&stays.what));
            }
        }
    }
    for (title, list) in
        [("Modules, to be read by themselves", &book.modules), ("Not understood", &book.strange)]
    {
        if !list.is_empty() {
            let list: Vec<String> = list.iter().map(|l| harmless::line(l)).collect();
            let _ = writeln!(text, "\n{title}: {}", list.join(", "));
        }
    }
    if !book.aliases.is_empty() {
        let aliases = book.aliases.iter().map(|(a, of)| format!("{a} is {of}"));
        let aliases: Vec<String> = aliases.map(|a| harmless::line(&a)).collect();
        let _ = writeln!(text, "\nOther names: {}", aliases.join(", "));
    }
    text.push_str(
        "\nNothing was run or written. Next: hosts.toml from the flake\n  nixdeploy init\n",
    );
    text.push_str("What differs from your recipes: nixdeploy help moving-in\n");
    text
}

/// What is said of a recipe beside its name: its commands, the first one first.
fn said(told: &Told) -> Vec<String> {
    let others = told.stays.iter().filter(|s| s.why.is_none()).map(|s| s.what.as_str());
    let others: Vec<&str> = others.take(4).collect();
    if told.commands.is_empty() {
        let starts =
            if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
        return vec![format!("no command; stays a recipe{starts}")];
    }
    let part = if told.whole { "" } else { "in part: " };
    let line = |(n, command): (usize, &String)| {
        let before = if n == 0 { part } else { "then " };
        format!("{before}nixdeploy {command}")
    };
    told.commands.iter().enumerate().map(line).collect()
}
