//! Slice 5: profile and boot default, read back over a fresh connection.
