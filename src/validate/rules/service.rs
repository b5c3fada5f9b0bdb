//! The services that a module defines, each put together from all its definitions.

use std::collections::BTreeMap;

use rnix::SyntaxNode;
use rnix::ast::Expr;

use crate::validate::resolve::{Definition, Key, Literal, Resolver};

/// A service as far as one file defines it.
pub(in crate::validate) struct Service {
    /// Its name; `None`: computed.
    pub(super) name: Option<String>,
    /// Where it is defined first.
    pub(super) at: SyntaxNode,
    /// It runs something that this file says.
    pub(super) command: bool,
    /// `enable = false`.
    pub(super) disabled: bool,
    /// Parts of it come from elsewhere.
    pub(super) open: bool,
    /// What `serviceConfig` sets, with the value where it is written out.
    pub(super) settings: BTreeMap<String, Setting>,
}

/// A setting in `serviceConfig`.
pub(super) struct Setting {
    /// Its value; `None`: not written out, or of no interest.
    pub(super) value: Option<Literal>,
    /// Something else may replace it.
    pub(super) weak: bool,
    /// Where it is set.
    pub(super) at: SyntaxNode,
}

impl Service {
    /// A setting's text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.settings.get(name)?.value.as_ref()? {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is written out as a yes.
    pub(super) fn is_on(&self, name: &str) -> bool {
        match self.settings.get(name).and_then(|s| s.value.as_ref()) {
            Some(Literal::Bool(on)) => *on,
            Some(Literal::Text(text)) => matches!(text.as_str(), "yes" | "true" | "1" | "on"),
            _ => false,
        }
    }

    /// Whether it runs once and ends; `None`: its type is not written out.
    pub(super) fn once(&self) -> Option<bool> {
        match self.settings.get("Type") {
            Some(_) => Some(self.text("Type")? == "oneshot"),
            None => Some(false),
        }
    }

    /// Whether it can be judged by what this file says: it runs something, is not switched off,
    /// and nothing of it comes from elsewhere.
    pub(super) fn judged(&self) -> bool {
        self.command && !self.disabled && !self.open && self.name.is_some()
    }

    /// Settings whose value is not written out.
    pub(super) fn unknown(&self, name: &str) -> bool {
        self.settings.get(name).is_some_and(|s| s.value.is_none())
    }

    /// Its name for a message.
    pub(super) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or("this service")
    }
}

/// All services of a module.
#[derive(Default)]
pub(super) struct Services {
    all: BTreeMap<Key, Service>,
    order: Vec<Key>,
    /// Definitions of services that are not written out.
    open: bool,
}

/// Settings whose values are asked for; of the others it counts that they are there.
const WEIGHED: [&str; 3] = ["DynamicUser", "Type", "User"];
const SERVICES: [&str; 2] = ["systemd", "services"];

impl Services {
    /// Takes what a definition says of a service.
    pub(super) fn add(&mut self, resolver: &Resolver, definition: &Definition<'_>) -> Option<()> {
        let path = definition.path;
        if path.len() <= SERVICES.len() {
            self.open |= SERVICES.iter().zip(path).all(|(word, key)| key.shown() == *word)
                && !empty(resolver, definition.value);
            return None;
        }
        if !definition.below(&SERVICES) {
            return None;
        }
        let service = self.service(&path[2], definition.at);
        match &path[3..] {
            [] => service.open |= !empty(resolver, definition.value),
            [key] if key.shown() == "serviceConfig" => {
                service.open |= !empty(resolver, definition.value);
            }
            [key] if key.shown() == "enable" => {
                service.disabled |= resolver.boolean(definition.value) == Some(false);
            }
            [key] if key.shown() == "script" => service.command = true,
            [Key::Computed(_), ..] => service.open = true,
            [config, key] if config.shown() == "serviceConfig" => {
                service.set(resolver, key, definition);
            }
            _ => {}
        }
        Some(())
    }

    fn service(&mut self, key: &Key, at: &SyntaxNode) -> &mut Service {
        if !self.all.contains_key(key) {
            self.order.push(key.clone());
        }
        self.all.entry(key.clone()).or_insert_with(|| Service {
            name: match key {
                Key::Name(name) => Some(name.clone()),
                Key::Computed(_) => None,
            },
            at: named_at(at, key.shown()),
            command: false,
            disabled: false,
            open: false,
            settings: BTreeMap::new(),
        })
    }

    /// The services in the order of the text.
    pub(super) fn complete(mut self) -> Vec<Service> {
        let open = self.open;
        let taken = self.order.iter().filter_map(|key| self.all.remove(key));
        taken.map(|s| Service { open: s.open || open, ..s }).collect()
    }
}

impl Service {
    fn set(&mut self, resolver: &Resolver, key: &Key, definition: &Definition<'_>) {
        let Key::Name(name) = key else {
            self.open = true;
            return;
        };
        self.command |= name == "ExecStart";
        let setting = Setting {
            value: WEIGHED
                .contains(&name.as_str())
                .then(|| resolver.literal(definition.value))
                .flatten(),
            weak: definition.weak,
            at: definition.at.clone(),
        };
        self.settings.insert(name.clone(), setting);
    }
}

/// Whether an expression is a set without anything in it, or `null`.
fn empty(resolver: &Resolver, expr: &Expr) -> bool {
    resolver.literal(expr) == Some(Literal::Null)
}

/// The binding that carries a service's name: the one around a definition of a part of it.
fn named_at(at: &SyntaxNode, name: &str) -> SyntaxNode {
    use rnix::ast;
    use rowan::ast::AstNode;
    let carries = |node: &SyntaxNode| {
        let binding = ast::AttrpathValue::cast(node.clone());
        let path = binding.and_then(|b| b.attrpath());
        path.is_some_and(|p| {
            p.attrs().any(|a| crate::validate::names::is(&a, name) || a.syntax().text() == name)
        })
    };
    let found = at.ancestors().find(carries);
    let path = found.and_then(|n| n.children().next());
    path.unwrap_or_else(|| at.clone())
}
