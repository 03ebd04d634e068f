//! The one thread that owns the model.
