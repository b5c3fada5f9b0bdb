//! Slice 4: is the host healthy, seen over a fresh connection?
