//! Which lists of issues are asked for: one for each label, and searches for titles. Pure.

use super::address::REPOSITORY;

/// One list.
pub(super) struct Feed {
    /// For the cache, and for people.
    pub(super) name: String,
    /// Its address below the base, from a moment on.
    pub(super) path: Box<dyn Fn(i64) -> String>,
    /// Where the server has no such list, nothing is missing.
    pub(super) extra: bool,
}

/// The list of a label.
pub(super) fn labelled(label: &str) -> Feed {
    let query = label.replace(':', "%3A").replace(' ', "%20");
    let path = move |since: i64| {
        format!(
            "/repos/{REPOSITORY}/issues?labels={query}&state=all&sort=updated&direction=desc\
             &since={}&per_page=100",
            stamp(since)
        )
    };
    Feed { name: label.to_owned(), path: Box::new(path), extra: false }
}

/// A search for titles: an issue without labels is in no list.
pub(super) fn search(name: &str) -> Feed {
    let word = name.to_owned();
    let path = move |since: i64| {
        let day: String = stamp(since).chars().take(10).collect();
        format!(
            "/search/issues?q=repo:{REPOSITORY}+is:issue+in:title+{word}+updated:%3E%3D{day}\
             &sort=updated&order=desc&per_page=100"
        )
    };
    Feed { name: format!("titles with {name}"), path: Box::new(path), extra: true }
}

fn stamp(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_second(ms.div_euclid(1000)).unwrap_or_default();
    stamp.to_string()
}
