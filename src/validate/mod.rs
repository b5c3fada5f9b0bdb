//! Slice 1: is this tree fit to be deployed?
