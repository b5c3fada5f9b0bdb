//! A justfile's recipes as they are written: names, parameters, what they depend on, their lines.
//!
//! The language is that of `just` (its GRAMMAR.md). Nothing is evaluated or executed; what is not
//! understood is told with its line and passed over.

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Justfile {
    /// In the order of the file.
    pub recipes: Vec<Recipe>,
    /// Another name, the recipe it stands for.
    pub aliases: Vec<(String, String)>,
    /// Files that are read in its place, and whether one may be missing.
    pub imports: Vec<(String, bool)>,
    /// Names of modules, which have recipes of their own.
    pub modules: Vec<String>,
    /// Line numbers, from 1, that were not understood.
    pub strange: Vec<usize>,
}

/// A recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Its name.
    pub name: String,
    /// Its parameters by name; `+` or `*` before one that takes several, `?` before
    /// one that has a default.
    pub parameters: Vec<String>,
    /// The recipes that it runs before and after itself.
    pub needs: Vec<Need>,
    /// Its lines, without their indentation.
    pub body: Vec<String>,
    /// The line of its name, from 1.
    pub line: usize,
    /// Not listed by `just --list`.
    pub private: bool,
    /// Only for systems that nixdeploy does not run on.
    pub foreign: bool,
}

/// A recipe that another one depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Its name.
    pub name: String,
    /// What it is given; the value of a parameter or variable in `{{ }}`.
    pub arguments: Vec<String>,
    /// It runs after the lines, not before them.
    pub after: bool,
}

/// Reads one file's text.
pub(super) fn read(text: &str) -> Justfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let (mut file, mut attributes, mut at) = (Justfile::default(), Vec::new(), 0);
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            at += 1;
            continue;
        }
        let (whole, next) = whole(&lines, at);
        let tokens = tokens(&whole);
        let indented = line.starts_with([' ', '\t']);
        if let (Some(Token::Mark('[')), false) = (tokens.first(), indented) {
            attributes.extend(words(&tokens));
            at = next;
            continue;
        }
        if indented || !item(&mut file, &tokens) {
            match recipe(&tokens, &attributes).filter(|_| !indented) {
                Some(mut recipe) => {
                    recipe.line = at + 1;
                    let after = body(&lines, next);
                    let inner = lines[next..after].iter().map(|l| l.trim().to_owned());
                    recipe.body = inner.filter(|l| !l.is_empty()).collect();
                    file.recipes.push(recipe);
                    attributes.clear();
                    at = after;
                    continue;
                }
                None => file.strange.push(at + 1),
            }
        }
        attributes.clear();
        at = next;
    }
    file
}

/// The end of a body that begins here: everything that is indented, and blank lines within.
fn body(lines: &[&str], begin: usize) -> usize {
    let mut end = begin;
    for (n, line) in lines.iter().enumerate().skip(begin) {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            end = n + 1;
        } else if !line.trim().is_empty() {
            break;
        }
    }
    end
}

/// What begins at this line, to where its strings and brackets are closed; and the line after.
/// One that never ends is taken as a line.
fn whole(lines: &[&str], at: usize) -> (String, usize) {
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate().skip(at) {
        let part = line.trim_end().strip_suffix('\\');
        text.push_str(part.unwrap_or(line));
        if part.is_none() && closed(&text) {
            return (text, n + 1);
        }
        text.push(if part.is_some() { ' ' } else { '\n' });
    }
    (lines[at].to_owned(), at + 1)
}

fn closed(text: &str) -> bool {
    let (mut rest, mut depth) = (text, 0_i32);
    while let Some(c) = rest.chars().next() {
        match c {
            '#' => rest = rest.find('\n').map_or("", |n| &rest[n..]),
            '\'' | '"' | '`' => match string(rest) {
                Some(length) => rest = &rest[length..],
                None => return false,
            },
            c => {
                depth += i32::from(matches!(c, '(' | '[' | '{'));
                depth -= i32::from(matches!(c, ')' | ']' | '}'));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    depth <= 0
}

/// Bytes of the string that begins here, its quotes counted; `None`: it does not end.
fn string(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let open = if text.starts_with(&triple) { triple } else { quote.to_string() };
    let mut rest = &text[open.len()..];
    loop {
        if rest.starts_with(&open) {
            return Some(text.len() - rest.len() + open.len());
        }
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        if c == '\\' && quote == '"' {
            rest = &rest[rest.chars().next()?.len_utf8()..];
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A name.
    Word(String),
    /// A string without its quotes.
    Text(String),
    /// Any other character; `&` and `=` of `&&` and `:=` come one by one.
    Mark(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\'' | '"' | '`' => {
                let length = string(rest).unwrap_or(rest.len());
                tokens.push(Token::Text(rest[..length].trim_matches(c).to_owned()));
                length
            }
            c if name_begins(c) => {
                let in_name = |c: char| name_begins(c) || c.is_ascii_digit() || c == '-';
                let length = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token::Mark(c));
                }
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    tokens
}

fn name_begins(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn words(tokens: &[Token]) -> Vec<String> {
    let word = |token: &Token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Text(_) | Token::Mark(_) => None,
    };
    tokens.iter().filter_map(word).collect()
}

/// Everything that is no recipe: `alias`, `set`, `import`, `mod`, an assignment.
fn item(file: &mut Justfile, tokens: &[Token]) -> bool {
    use Token::{Mark, Text, Word};
    match tokens {
        [Word(key), Word(name), Mark(':'), Mark('='), Word(of), ..] if key == "alias" => {
            file.aliases.push((name.clone(), of.clone()));
        }
        [Word(key), Text(path)] if key == "import" => file.imports.push((path.clone(), false)),
        [Word(key), Mark('?'), Text(path)] if key == "import" => {
            file.imports.push((path.clone(), true));
        }
        [Word(key), Word(name)] | [Word(key), Word(name), Text(_)] if key == "mod" => {
            file.modules.push(name.clone());
        }
        [Word(key), Mark('?'), Word(name), ..] if key == "mod" => file.modules.push(name.clone()),
        [Word(key), Word(_), Mark(':'), Mark('='), ..] if key == "export" || key == "set" => {}
        [Word(key), Word(_)] if key == "set" || key == "unexport" => {}
        [Word(_), Mark(':'), Mark('='), ..] => {}
        _ => return false,
    }
    true
}

/// `@name first +rest='x': before (with 'arguments') && after`
fn recipe(tokens: &[Token], attributes: &[String]) -> Option<Recipe> {
    let tokens = tokens.strip_prefix(&[Token::Mark('@')]).unwrap_or(tokens);
    let Token::Word(name) = tokens.first()? else { return None };
    let (mut parameters, mut at, mut several) = (Vec::<String>::new(), 1, "");
    loop {
        match tokens.get(at)? {
            Token::Mark(':') => break,
            Token::Mark('+') => several = "+",
            Token::Mark('*') => several = "*",
            Token::Mark('=') => {
                if let Some(last) = parameters.last_mut() {
                    *last = format!("?{last}");
                }
                at = value(tokens, at + 1)? - 1;
            }
            Token::Mark('$') => {}
            Token::Word(name) => {
                parameters.push(format!("{several}{name}"));
                several = "";
            }
            Token::Text(_) | Token::Mark(_) => return None,
        }
        at += 1;
    }
    let has = |name: &str| attributes.iter().any(|a| a == name);
    let foreign = ["macos", "windows", "openbsd", "freebsd"].iter().any(|os| has(os));
    Some(Recipe {
        name: name.clone(),
        parameters,
        needs: needs(&tokens[at + 1..]),
        private: name.starts_with('_') || has("private"),
        foreign: foreign && !has("linux") && !has("unix"),
        ..Recipe::default()
    })
}

/// The token after a default: a string, a name, or something in parentheses.
fn value(tokens: &[Token], at: usize) -> Option<usize> {
    if tokens.get(at)? != &Token::Mark('(') {
        return Some(at + 1);
    }
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate().skip(at) {
        depth += i32::from(*token == Token::Mark('('));
        depth -= i32::from(*token == Token::Mark(')'));
        if depth == 0 {
            return Some(n + 1);
        }
    }
    None
}

/// Names of recipes; in parentheses the first word is one, and the rest what it is given.
fn needs(tokens: &[Token]) -> Vec<Need> {
    let (mut needs, mut depth, mut after) = (Vec::<Need>::new(), 0_u32, false);
    let (mut named, mut tied) = (false, false);
    for token in tokens {
        let (word, plain) = match token {
            Token::Mark('(') => {
                depth += 1;
                named &= depth > 1;
                continue;
            }
            Token::Mark(')') => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Token::Mark('&') if depth == 0 => {
                after = true;
                continue;
            }
            Token::Mark(sign) => {
                // `a + b` is one value, `a / b` one with the stroke in it.
                let last = needs.last_mut().and_then(|need| need.arguments.last_mut());
                if let (Some(last), '/') = (last, sign) {
                    last.push('/');
                }
                tied = true;
                continue;
            }
            Token::Word(word) => (word.clone(), true),
            Token::Text(text) => (text.clone(), false),
        };
        if plain && (depth == 0 || !named) {
            needs.push(Need { name: word, after, ..Need::default() });
            named = true;
        } else if let Some(need) = needs.last_mut().filter(|_| depth > 0) {
            let word = if plain { format!("{{{{{word}}}}}") } else { word };
            match need.arguments.last_mut().filter(|_| tied) {
                Some(last) => last.push_str(&word),
                None => need.arguments.push(word),
            }
        }
        tied = false;
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_understood() {
        let text = "\u{feff}# comment\nset shell := [\n  'bash', '-c'\n]\nset dotenv-load\n\
            hosts := \"p620 #1 \\\" razer\" + `hostname`\nexport A := '''\nrecipe:\n  no\n'''\n\
            alias t := test\nimport 'more.just'\nimport? \"x.just\"\nmod tools\n\
            mod? odd 'o.just'\n\n\
            # Deploys.\n[group('deploy')]\n[private, no-cd]\n\
            @deploy host='p620' $MODE=(a + ('b')) +more: check (build host 'x-' + MODE) \
            && after # why\n\
            \t@echo {{host}}\n\n    nixos-rebuild switch \\\n      --flake .#{{host}}\n\
            test:\n    #!/usr/bin/env bash\n    echo a: b\n[macos]\nfor-mac:\n  x\n\
            _own *a:\nlast:\n";
        let file = read(text);
        assert_eq!(file.strange, [0; 0], "{file:?}");
        let names: Vec<_> = file.recipes.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["deploy", "test", "for-mac", "_own", "last"]);
        let deploy = &file.recipes[0];
        assert_eq!(deploy.parameters, ["?host", "?MODE", "+more"]);
        let need = |name: &str, arguments: &[&str], after| Need {
            name: name.to_owned(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            after,
        };
        let build = need("build", &["{{host}}", "x-{{MODE}}"], false);
        assert_eq!(deploy.needs, [need("check", &[], false), build, need("after", &[], true)]);
        assert_eq!(deploy.body.len(), 3, "{deploy:?}");
        assert!(deploy.private && deploy.line == 20, "{deploy:?}");
        assert!(file.recipes[2].foreign && file.recipes[3].private);
        assert_eq!(file.recipes[3].parameters, ["*a"]);
        assert_eq!(file.aliases, [("t".to_owned(), "test".to_owned())]);
        assert_eq!(file.imports, [("more.just".to_owned(), false), ("x.just".to_owned(), true)]);
        assert_eq!(file.modules, ["tools", "odd"]);
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_line() {
        let file = read("a:\n  b\n???\nc 'x\n  d\ne: (f\n");
        assert_eq!(file.strange, [3, 4, 5], "{file:?}");
        assert_eq!(file.recipes.len(), 2, "{file:?}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_fall(text in "([a-z@:='\"`(){}\\[\\]+*#&\\\\ \n\t]|\\PC){0,120}") {
            let file = read(&text);
            let lines = text.lines().count();
            proptest::prop_assert!(file.strange.iter().all(|n| *n >= 1 && *n <= lines));
        }
    }
}
