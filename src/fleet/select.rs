//! Selections: names, `@tag`, globs, `all`.
