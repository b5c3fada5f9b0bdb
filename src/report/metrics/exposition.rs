//! Prometheus' text format, version 0.0.4: families with their samples, in the order they are
//! written in (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::Write;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows, until it begins anew at 0.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A sum and a count, each only ever growing.
    Summary,
}

impl Kind {
    /// The word after `# TYPE NAME`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// Numbers of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Labels of each sample.
    pub labels: &'static [&'static str],
    /// What it says, one sentence.
    pub help: &'static str,
}

/// A text that is being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    open: Option<&'static str>,
}

impl Page {
    /// A sample of a family; `values` are those of its labels, `suffix` is `_sum`, `_count` or
    /// nothing. The samples of a family are to follow each other.
    pub fn sample(&mut self, family: &Family, suffix: &str, values: &[&str], number: f64) {
        if self.open != Some(family.name) {
            self.open = Some(family.name);
            let Family { name, help, .. } = family;
            let head = format!("# HELP {name} {}\n# TYPE {name} ", help_text(help));
            self.text.push_str(&head);
            self.text.push_str(family.kind.word());
            self.text.push('\n');
        }
        self.text.push_str(family.name);
        self.text.push_str(suffix);
        let pairs = family.labels.iter().zip(values);
        let pairs: Vec<String> = pairs.map(|(l, v)| format!("{l}=\"{}\"", value(v))).collect();
        if !pairs.is_empty() {
            let _ = write!(self.text, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.text, " {number}");
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.text
    }
}

/// In a help text a backslash and a line feed would not be themselves.
fn help_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// In a label's value the quotation mark neither.
fn value(text: &str) -> String {
    help_text(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAMILY: Family =
        Family { name: "x_seconds", kind: Kind::Summary, labels: &["host"], help: "Say \\ it." };

    #[test]
    fn a_family_is_headed_once() {
        let mut page = Page::default();
        page.sample(&FAMILY, "_sum", &["a\"b"], 0.5);
        page.sample(&FAMILY, "_count", &["a\"b"], 2.0);
        let text = "# HELP x_seconds Say \\\\ it.\n# TYPE x_seconds summary\n\
            x_seconds_sum{host=\"a\\\"b\"} 0.5\nx_seconds_count{host=\"a\\\"b\"} 2\n";
        assert_eq!(page.text(), text);
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_quotes(name in any::<String>()) {
            let mut page = Page::default();
            page.sample(&FAMILY, "", &[&name], 1.0);
            let text = page.text();
            let line = text.split_inclusive('\n').nth(2).expect("a sample");
            let inside = line.strip_prefix("x_seconds{host=\"");
            let inside = inside.and_then(|l| l.strip_suffix("\"} 1\n"));
            let inside = inside.expect("one label, one value");
            let mut back = String::new();
            let mut letters = inside.chars();
            while let Some(c) = letters.next() {
                prop_assert!(c != '"' && c != '\n');
                back.push(match c {
                    '\\' => match letters.next() { Some('n') => '\n', Some(c) => c, None => '?' },
                    c => c,
                });
            }
            prop_assert_eq!(back, name);
        }
    }
}
