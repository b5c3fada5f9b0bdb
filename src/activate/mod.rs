//! Slice 3: an admitted closure under the guard, from hold to the end of the activation.

pub mod copy;
