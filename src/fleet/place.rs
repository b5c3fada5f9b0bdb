//! Where things stand in hosts.toml: from a path of keys to the bytes of its key or value.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The document as it was before anything was taken out of it.
pub(super) struct Places<'i> {
    root: Spanned<DeTable<'i>>,
}

impl<'i> Places<'i> {
    pub(super) fn new(root: Spanned<DeTable<'i>>) -> Self {
        Self { root }
    }

    /// Names of the tables in a table, in the order of the file.
    pub(super) fn names(&self, of: &str) -> Vec<String> {
        let Some(DeValue::Table(table)) = self.root.get_ref().get(of).map(Spanned::get_ref) else {
            return Vec::new();
        };
        let mut names: Vec<(usize, String)> =
            table.iter().map(|(k, _)| (k.span().start, k.get_ref().to_string())).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The key at the end of a path; of a list's item, the item.
    pub(super) fn key(&self, path: &[&str]) -> Range<usize> {
        self.find(path).map_or(0..0, |(key, _)| key)
    }

    /// The value at the end of a path; of a table with a header, the header.
    pub(super) fn value(&self, path: &[&str]) -> Range<usize> {
        self.find(path).map_or(0..0, |(_, value)| value.span())
    }

    /// Every key and value directly in the table at a path.
    pub(super) fn entries(&self, path: &[&str]) -> Vec<Range<usize>> {
        let table = self.find(path).and_then(|(_, value)| value.get_ref().as_table());
        table.into_iter().flatten().flat_map(|(k, v)| [k.span(), v.span()]).collect()
    }

    fn find(&self, path: &[&str]) -> Option<(Range<usize>, &Spanned<DeValue<'i>>)> {
        let (first, rest) = path.split_first()?;
        let (mut key, mut value) = entry(self.root.get_ref(), first)?;
        for step in rest {
            (key, value) = match value.get_ref() {
                DeValue::Table(table) => entry(table, step)?,
                DeValue::Array(items) => {
                    let item = items.get(step.parse::<usize>().ok()?)?;
                    (item.span(), item)
                }
                _ => return None,
            };
        }
        Some((key, value))
    }
}

fn entry<'a, 'i>(
    table: &'a DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'a Spanned<DeValue<'i>>)> {
    table.get_key_value(name).map(|(k, v)| (k.span(), v))
}
