//! Slice 6: the way back, verified, with its evidence.
