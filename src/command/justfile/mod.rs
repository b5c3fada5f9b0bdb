//! `init --from-justfile [FILE]`: recipe by recipe, which command takes it over, and what has
//! none.

mod body;
mod reader;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::body::Does;
use self::reader::{Justfile, Recipe};
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
const DEPTH: usize = 8;

/// What is said of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// Programs that it starts and nothing takes over, with what is near.
    stays: Vec<(String, Option<&'static str>)>,
}

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
        return Ok(environment.expand(&file.to_string_lossy(), &environment.folder));
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
    let listed = book.recipes.iter().filter(|(recipe, _)| !recipe.private);
    let told = listed.map(|(recipe, file)| {
        let parameters: Vec<String> = recipe
            .parameters
            .iter()
            .map(|p| p.trim_start_matches(['?', '+', '*']).to_ascii_uppercase())
            .collect();
        let mut told = Told {
            recipe: recipe.name.clone(),
            file: file.clone(),
            line: recipe.line,
            commands: Vec::new(),
            by: None,
            stays: Vec::new(),
            parameters,
        };
        if let Some(command) = by_name(recipe) {
            (told.commands, told.by) = (vec![command], Some("name"));
            return told;
        }
        gather(book, recipe, DEPTH, &mut told);
        told.by = (!told.commands.is_empty()).then_some("lines");
        told
    });
    told.collect()
}

/// A command with the recipe's name. A common word may mean anything: then its lines must speak
/// of NixOS too. Parameters that have a default are left to the command's own.
fn by_name(recipe: &Recipe) -> Option<String> {
    let name = recipe.name.replace('_', "-");
    let ours = command_names().contains(&name) || name == "emergency-deploy";
    let own = name.contains('-') || ["deploy", "emergency", "rollback"].contains(&name.as_str());
    let nixos =
        |line: &String| ["nixos", "nh os", "nixosConfigurations"].iter().any(|w| line.contains(w));
    let means = own || recipe.body.iter().any(nixos);
    let needed = recipe.parameters.iter().filter(|p| !p.starts_with('?'));
    let needed = needed.map(|p| p.trim_start_matches(['+', '*']).to_ascii_uppercase());
    let whole = std::iter::once(name.clone()).chain(needed).collect::<Vec<_>>().join(" ");
    let fits = |line: &String| {
        let words = std::iter::once("nixdeploy").chain(line.split(' ')).map(Into::into);
        cli::parse(words).is_ok()
    };
    Some([whole, name]).filter(|_| ours && means)?.into_iter().find(fits)
}

/// What the lines of a recipe do, and of those that it calls.
fn gather(book: &Book, recipe: &Recipe, depth: usize, told: &mut Told) {
    let calls = recipe.needs.iter().cloned().map(Does::Recipe);
    for does in calls.chain(body::does(&recipe.body, &recipe.parameters)) {
        match does {
            Does::Command(command) if !told.commands.contains(&command) => {
                told.commands.push(command);
            }
            Does::Command(_) => {}
            Does::Stays(program, why) => {
                if told.stays.iter().all(|(known, _)| *known != program) {
                    told.stays.push((program, why));
                }
            }
            Does::Recipe(name) => {
                let name =
                    book.aliases.iter().find(|(a, _)| *a == name).map_or(name, |a| a.1.clone());
                let Some(called) = book.recipe(&name).filter(|_| depth > 0) else { continue };
                match by_name(called) {
                    Some(command) if told.commands.contains(&command) => {}
                    Some(command) => told.commands.push(command),
                    None => gather(book, called, depth - 1, told),
                }
            }
        }
    }
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
    let taken = told.iter().filter(|t| !t.commands.is_empty()).count();
    let recipes = count(told.len(), "recipe", "recipes");
    let mut text = format!("{}: {recipes}, {taken} taken over\n\n", harmless::line(shown));
    let names: Vec<String> = told
        .iter()
        .map(|t| [std::slice::from_ref(&t.recipe), &t.parameters].concat().join(" "))
        .collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(30);
    for (told, name) in told.iter().zip(&names) {
        let mut lines: Vec<String> =
            told.commands.iter().map(|c| format!("nixdeploy {c}")).collect();
        let near =
            told.stays.iter().filter_map(|(program, why)| Some(format!("{program}: {}", (*why)?)));
        let others = told.stays.iter().filter(|(_, why)| why.is_none()).map(|(p, _)| p.as_str());
        let others: Vec<&str> = others.take(4).collect();
        if lines.is_empty() {
            let starts =
                if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
            lines.push(format!("no command; stays a recipe{starts}"));
        }
        for (n, line) in lines.iter().enumerate() {
            let name = if n == 0 { harmless::line(name) } else { String::new() };
            let _ = writeln!(text, "  {name:width$}  {}", harmless::line(line));
        }
        for line in near {
            let _ = writeln!(text, "      {}", harmless::line(&line));
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
