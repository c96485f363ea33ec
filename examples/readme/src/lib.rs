#![doc = include_str!("../../../README.md")]

#[doc = include_str!("../../../docs/matrix-memories.md")]
mod matrix_memories {}
