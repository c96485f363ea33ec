//! Benches only; see `benches/layers.rs`.
