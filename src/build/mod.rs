//! Slice 2: from a pinned tree to a closure, locally, on the target or on a third host.
