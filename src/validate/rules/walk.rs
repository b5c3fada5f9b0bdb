//! One walk over a file for all rules.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode, TextRange};
use rowan::ast::AstNode;

use super::service::Services;
use super::{Check, File, OfNode, RULES, Rule, needless_rec};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::{self, Place, Step};
use crate::validate::resolve::{
    Definition, Key, Options, Resolver, at_top, may_list_modules, modules,
};
use crate::validate::syntax::Fault;

/// Rules over nodes by the kind of node; the flag says whether documentation counts too.
static BY_KIND: LazyLock<Vec<Vec<(usize, bool, OfNode)>>> = LazyLock::new(|| {
    let mut table = vec![Vec::new(); SyntaxKind::NODE_WITH as usize + 1];
    for (at, rule) in RULES.iter().enumerate() {
        let (kinds, anywhere, check) = match &rule.check {
            Check::Node(kinds, check) => (kinds, false, check),
            Check::Anywhere(kinds, check) => (kinds, true, check),
            _ => continue,
        };
        kinds.iter().for_each(|kind| table[*kind as usize].push((at, anywhere, *check)));
    }
    table
});

/// What each rule needs to find in a text before it can say anything of it.
static NEEDED: LazyLock<Vec<Vec<Finder<'static>>>> = LazyLock::new(|| {
    let finder = |need: &&str| Finder::new(&letters(need)).into_owned();
    RULES.iter().map(|rule| rule.needs.iter().map(finder).collect()).collect()
});

/// A text in small letters and without what escapes: `"open\\ssh"` is a name as well.
fn letters(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_ascii_lowercase();
    if memchr::memchr(b'\\', &bytes).is_some() {
        bytes.retain(|b| *b != b'\\');
    }
    bytes
}

/// The rules that can say something of a text, by their place in [`RULES`].
#[derive(Clone, Copy)]
struct Possible(u64);

impl Possible {
    fn of(text: &str) -> Self {
        let text = letters(text);
        let holds = |needs: &Vec<Finder<'_>>| {
            needs.is_empty() || needs.iter().any(|n| n.find(&text).is_some())
        };
        let bits = NEEDED.iter().enumerate().map(|(at, needs)| u64::from(holds(needs)) << at);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// The same and every rule about options: a name is put together, and may be any.
    fn with_options(self) -> Self {
        let about = |rule: &Rule| matches!(rule.check, Check::Option(_) | Check::Service(_));
        let bits = RULES.iter().enumerate().map(|(at, rule)| u64::from(about(rule)) << at);
        Self(bits.fold(self.0, |all, bit| all | bit))
    }

    /// Those of them that always block.
    fn always(self) -> Self {
        let always = RULES.iter().enumerate().filter(|(_, rule)| rule.always_blocks());
        Self(self.0 & always.fold(0, |bits, (at, _)| bits | (1 << at)))
    }

    /// The first words of the options that its rules are about; `None`: they may be any.
    fn tops(self) -> Option<Vec<&'static str>> {
        let about = |rule: &Rule| matches!(rule.check, Check::Option(_) | Check::Service(_));
        let rules = RULES.iter().enumerate().filter(|(at, rule)| self.has(*at) && about(rule));
        let mut tops = Vec::new();
        for (_, rule) in rules {
            if rule.tops.is_empty() {
                return None;
            }
            tops.extend(rule.tops);
        }
        Some(tops)
    }

    fn has(self, rule: usize) -> bool {
        (self.0 >> rule) & 1 == 1
    }

    /// Whether one of the rules that look at such things is among them.
    fn any(self, looks: impl Fn(&Rule) -> bool) -> bool {
        RULES.iter().enumerate().any(|(at, rule)| self.has(at) && looks(rule))
    }
}

/// What the rules find in a file without syntax faults; `unused` are the sets whose `rec` nothing
/// uses. Stops where `late` says so.
pub(in crate::validate) fn faults(
    text: &str,
    root: &SyntaxNode,
    unused: &[TextRange],
    late: &dyn Fn() -> bool,
) -> Vec<Fault> {
    let resolver = Resolver::new();
    let mut walk = Walk::new(&resolver, text, root, late);
    place::walk(root, &mut |step| walk.meet(step));
    walk.end(unused)
}

/// All rules on one walk over a file.
pub(in crate::validate) struct Walk<'a> {
    file: File<'a>,
    possible: Possible,
    /// Some rule may have something to say of how packages are imported.
    imports: bool,
    /// Only rules that always block are asked.
    always: bool,
    /// Some name of an option is more than a plain word.
    composed: bool,
    late: &'a dyn Fn() -> bool,
    faults: Vec<Fault>,
    /// Expressions that are modules.
    tops: Vec<Expr>,
    /// How many bindings around here are documentation or declarations.
    exempt: usize,
    /// Sets with `rec`.
    recursive: Vec<SyntaxNode>,
    /// How much was met.
    count: usize,
    stopped: bool,
}

impl<'a> Walk<'a> {
    pub(in crate::validate) fn new(
        resolver: &'a Resolver,
        text: &str,
        root: &SyntaxNode,
        late: &'a dyn Fn() -> bool,
    ) -> Self {
        let possible = Possible::of(text);
        Self {
            file: File { resolver },
            possible,
            imports: possible.any(|r| r.needs_nixpkgs()),
            always: false,
            composed: false,
            late,
            faults: Vec::new(),
            tops: ast::Root::cast(root.clone()).and_then(|r| r.expr()).into_iter().collect(),
            exempt: 0,
            recursive: Vec::new(),
            count: 0,
            stopped: false,
        }
    }

    /// Only the rules that always block, each of which looks at single nodes.
    pub(in crate::validate) fn for_always(
        resolver: &'a Resolver,
        text: &str,
        root: &SyntaxNode,
        late: &'a dyn Fn() -> bool,
    ) -> Self {
        let whole = Self::new(resolver, text, root, late);
        let possible = whole.possible.always();
        Self { possible, imports: false, always: true, ..whole }
    }

    /// The next step of the walk.
    pub(in crate::validate) fn meet(&mut self, step: Step<'_, '_>) {
        if self.count.is_multiple_of(4096) {
            self.stopped |= (self.late)();
        }
        self.count += 1;
        match step {
            _ if self.stopped => {}
            Step::Enter(place) => self.enter(place),
            Step::Leave(place) => self.leave(place),
        }
    }

    /// Everything that was found; `unused` are the sets whose `rec` nothing uses.
    pub(in crate::validate) fn end(mut self, unused: &[TextRange]) -> Vec<Fault> {
        let recursive = std::mem::take(&mut self.recursive);
        for set in recursive.into_iter().filter(|_| !self.always) {
            if unused.contains(&set.text_range()) {
                self.faults.extend(needless_rec::found(&set));
            }
        }
        if self.composed && !self.always {
            self.possible = self.possible.with_options();
        }
        let about = self.possible.tops();
        for top in std::mem::take(&mut self.tops) {
            if about.as_ref().is_some_and(Vec::is_empty) || (self.late)() {
                break;
            }
            self.module(&top, about.as_deref());
        }
        let mut seen: HashSet<(&str, Range<usize>)> = HashSet::new();
        let mut faults = self.faults;
        faults.retain(|f| seen.insert((f.code, f.range.clone())));
        faults
    }

    fn enter(&mut self, place: &Place<'_, '_>) {
        let kind = place.kind();
        if kind == SyntaxKind::NODE_ATTRPATH_VALUE {
            self.exempt += usize::from(documents(place));
            self.composed |= names::path_in(place.green()).any(|word| word.is_none());
            if self.exempt == 0 && may_list_modules(place.green()) {
                self.tops.extend(modules(self.file.resolver, place.cursor()));
            }
        }
        for (rule, anywhere, check) in &BY_KIND[kind as usize] {
            if (*anywhere || self.exempt == 0) && self.possible.has(*rule) {
                self.faults.extend(check(&self.file, place));
            }
        }
        if kind == SyntaxKind::NODE_ATTR_SET && names::recursive(place.green()) {
            self.recursive.push(place.cursor().clone());
        }
        if kind == SyntaxKind::NODE_APPLY && self.exempt == 0 && self.imports {
            self.imported(place.cursor());
        }
    }

    fn leave(&mut self, place: &Place<'_, '_>) {
        if self.exempt > 0 && place.kind() == SyntaxKind::NODE_ATTRPATH_VALUE {
            self.exempt -= usize::from(documents(place));
        }
    }

    /// `import nixpkgs { config = ...; }` sets the same options as `nixpkgs.config`.
    fn imported(&mut self, node: &SyntaxNode) {
        let Some(arguments) = ast::Apply::cast(node.clone()).and_then(|a| package_set(self, &a))
        else {
            return;
        };
        let options = Options::new(self.file.resolver).below(&["nixpkgs"]);
        let mut found = Vec::new();
        options.each(&arguments, &mut |definition| self.defined(definition, &mut found));
        self.faults.extend(found.into_iter().map(|(_, fault)| fault));
    }

    fn module(&mut self, top: &Expr, about: Option<&[&'static str]>) {
        let mut found: Vec<(Vec<Key>, Fault)> = Vec::new();
        let mut disabled: Vec<Vec<Key>> = Vec::new();
        let mut services = Services::default();
        Options::new(self.file.resolver).about(about).each(top, &mut |definition| {
            self.defined(definition, &mut found);
            services.add(self.file.resolver, definition);
            disabled.extend(self.disabled(definition));
        });
        let off = |path: &[Key]| {
            let below = |d: &Vec<Key>| path.len() > d.len() && path.starts_with(d);
            disabled.iter().any(below)
        };
        let found = found.into_iter().filter(|(path, _)| !off(path));
        self.faults.extend(found.map(|(_, fault)| fault));
        for service in services.complete() {
            for rule in RULES {
                if let Check::Service(check) = rule.check {
                    self.faults.extend(check(&service));
                }
            }
        }
    }

    fn defined(&self, definition: &Definition<'_>, found: &mut Vec<(Vec<Key>, Fault)>) {
        for (at, rule) in RULES.iter().enumerate() {
            if let Check::Option(check) = rule.check
                && self.possible.has(at)
                && let Some(fault) = check(&self.file, definition)
            {
                found.push((definition.path.to_vec(), fault));
            }
        }
    }

    /// The feature that a definition switches off for good. A firewall that is off still says
    /// what it would open.
    fn disabled(&self, definition: &Definition<'_>) -> Option<Vec<Key>> {
        let (last, feature) = definition.path.split_last()?;
        let off = last.shown() == "enable"
            && !definition.weak
            && definition.conditions.is_empty()
            && !feature.is_empty()
            && !definition.below(&["networking", "firewall"])
            && self.file.resolver.boolean(definition.value) == Some(false);
        off.then(|| feature.to_vec())
    }
}

/// The argument with which a set of packages is imported.
fn package_set(walk: &Walk<'_>, apply: &ast::Apply) -> Option<Expr> {
    let arguments = apply.argument()?;
    let resolver = walk.file.resolver;
    let call = resolver.call(&Expr::Apply(apply.clone()))?;
    if call.args.len() != 2 || !call.is_own("import") {
        return None;
    }
    let what = resolver.dotted(&call.args[0]);
    let searched = matches!(resolver.reduce(&call.args[0]), Expr::PathSearch(p)
        if p.syntax().text().to_string().starts_with("<nixpkgs"));
    let named = what.iter().any(|w| w.starts_with("nixpkgs") || w.ends_with("nixpkgs"));
    let own = what.ends_with(&["path".to_owned()]) && what.len() > 1;
    (searched || named || own).then_some(arguments)
}

/// Whether a binding documents or declares: nothing below it is a configuration.
fn documents(place: &Place<'_, '_>) -> bool {
    let Some(Some(first)) = names::path_in(place.green()).next() else { return false };
    match names::path_in(place.green()).next_back().flatten() {
        Some("example" | "description" | "defaultText" | "longDescription") => true,
        Some("default") => within_option(place.cursor()),
        _ => first == "options" && place.cursor().parent().is_some_and(|set| at_top(&set)),
    }
}

/// Whether a binding stands in the argument of `mkOption`.
fn within_option(binding: &SyntaxNode) -> bool {
    let set = binding.parent();
    let call = set.and_then(|s| s.parent()).and_then(ast::Apply::cast);
    let function = call.and_then(|c| c.lambda()).map(|f| f.syntax().text().to_string());
    function.is_some_and(|f| f.trim_end().ends_with("mkOption"))
}

/// The severity that a service's finding has: maintenance that runs once is less exposed.
pub(super) fn milder(severity: Severity, once: bool) -> Severity {
    match severity {
        Severity::Block if once => Severity::Warn,
        Severity::Warn if once => Severity::Info,
        other => other,
    }
}
