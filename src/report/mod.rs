//! Renderers: they read the stream and its fold, and nothing else.
