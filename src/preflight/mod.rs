//! Slice 0: what a host is, and whether the new closure is admitted.
