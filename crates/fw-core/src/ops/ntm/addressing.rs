//! From a head's parameters to its weighting, in four stages.

use alloc::vec::Vec;

use burn::tensor::activation::{sigmoid, softmax, softplus};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::expect_shape;

/// Below this a norm counts as this: a vector of zeros resembles nothing.
pub(super) const SMALLEST_NORM: f64 = 1e-8;

/// Below this a weight counts as this: the logarithm of 0 and its slope are not finite.
pub(super) const SMALLEST_WEIGHT: f64 = 1e-30;

/// What each head asks for, in the ranges that the equations of [the module](super) need.
///
/// # Shapes
/// `n_heads` heads for each sample: `[batch_size, n_heads, ..]`.
#[derive(Clone, Debug)]
pub struct Addressing {
    /// k, `[.., word_size]`.
    pub key: Tensor<3>,
    /// β ≥ 0, `[.., 1]`.
    pub key_strength: Tensor<3>,
    /// g in (0, 1), `[.., 1]`.
    pub gate: Tensor<3>,
    /// s, `[.., shift_width]`: from R rows forward to R rows back, each ≥ 0, together 1.
    pub shift: Tensor<3>,
    /// γ ≥ 1, `[.., 1]`.
    pub sharpening: Tensor<3>,
}

impl Addressing {
    /// Numbers that the addressing of one head takes: a key, β, γ, g and s.
    pub(crate) fn width(word_size: usize, shift_width: usize) -> usize {
        word_size + 3 + shift_width
    }

    /// From numbers of any size, for each head in the order key, β, γ, g, s.
    ///
    /// ```text
    /// k    β = softplus    γ = 1 + softplus    g = σ    s = softmax
    /// ```
    ///
    /// # Shapes
    /// - raw: `[batch_size, n_heads (word_size + 3 + shift_width)]`
    pub(crate) fn from_raw(raw: Tensor<2>, n_heads: usize, word_size: usize) -> Self {
        let [batch_size, width] = raw.dims();
        let raw = raw.reshape([batch_size, n_heads, width / n_heads]);
        let shift_width = width / n_heads - Self::width(word_size, 0);
        let part = |start, width| raw.clone().narrow(2, start, width);
        let strengths = softplus(part(word_size, 2), 1.0);
        Addressing {
            key: part(0, word_size),
            key_strength: strengths.clone().narrow(2, 0, 1),
            sharpening: strengths.narrow(2, 1, 1) + 1.0,
            gate: sigmoid(part(word_size + 2, 1)),
            shift: softmax(part(word_size + 3, shift_width), 2),
        }
    }

    /// The heads' weightings over the rows of a memory: the four stages, one after another.
    ///
    /// # Shapes
    /// - memory: `[batch_size, memory_size, word_size]`
    /// - prev_weights, output: `[batch_size, n_heads, memory_size]`
    ///
    /// # Panics
    /// If the shapes do not fit together.
    #[track_caller]
    pub fn weights(self, memory: Tensor<3>, prev_weights: Tensor<3>) -> Tensor<3> {
        let content = content(memory, self.key, self.key_strength);
        let gated = interpolate(content, prev_weights, self.gate);
        sharpen(shift(gated, self.shift), self.sharpening)
    }
}

/// How much each row of a memory resembles each key.
///
/// ```text
/// K[k, M(i)] = k·M(i) / (max(|k|, ε) max(|M(i)|, ε))       ε = 1e-8
/// ```
///
/// Squares have to be finite: in single precision vectors shorter than 1e19. Half precision is computed in single precision.
///
/// # Shapes
/// - memory: `[batch_size, memory_size, word_size]`
/// - key: `[batch_size, n_heads, word_size]`
/// - output: `[batch_size, n_heads, memory_size]`, from -1 to 1
///
/// # Panics
/// If key and memory differ in batch size or word size.
#[track_caller]
pub fn cosine_similarity(memory: Tensor<3>, key: Tensor<3>) -> Tensor<3> {
    let ([batch_size, _, word_size], [keys, _, key_size]) = (memory.dims(), key.dims());
    assert!(
        (keys, key_size) == (batch_size, word_size),
        "the keys are for {keys} samples and {key_size} wide; \
         the memory is for {batch_size} samples, its words {word_size} wide"
    );
    let dtype = key.dtype();
    let (memory, key) = (widened(memory), widened(key));
    let norms = norm(key.clone()).matmul(norm(memory.clone()).swap_dims(1, 2));
    in_type(key.matmul(memory.swap_dims(1, 2)) / norms, dtype)
}

/// `max(|v|, ε)` of each row, `[.., .., 1]`. The root is taken of what is at least ε², so that its slope at zero is 0 and
/// not infinite.
fn norm(rows: Tensor<3>) -> Tensor<3> {
    let squares = rows.clone() * rows;
    let squared = squares.sum_dim(2).clamp_min(SMALLEST_NORM * SMALLEST_NORM);
    squared.sqrt()
}

/// Content addressing: a softmax over the rows by their resemblance to the key.
///
/// ```text
/// wᶜ(i) = softmax_i(β K[k, M(i)])
/// ```
///
/// # Shapes
/// - memory: `[batch_size, memory_size, word_size]`
/// - key: `[batch_size, n_heads, word_size]`
/// - key_strength (β): `[batch_size, n_heads, 1]`
/// - output: `[batch_size, n_heads, memory_size]`
///
/// # Panics
/// If the shapes do not fit together.
#[track_caller]
pub fn content(memory: Tensor<3>, key: Tensor<3>, key_strength: Tensor<3>) -> Tensor<3> {
    let [batch_size, n_heads, _] = key.dims();
    expect_shape(
        "key_strength",
        key_strength.dims(),
        [batch_size, n_heads, 1],
    );
    softmax(cosine_similarity(memory, key) * key_strength, 2)
}

/// Interpolation between what the content says and where the head was: g = 0 stays, g = 1 forgets where it was.
///
/// ```text
/// wᵍ = g wᶜ + (1 - g) w_{t-1}
/// ```
///
/// # Shapes
/// - content, prev_weights, output: `[batch_size, n_heads, memory_size]`
/// - gate (g): `[batch_size, n_heads, 1]`
///
/// # Panics
/// If the shapes do not fit together.
#[track_caller]
pub fn interpolate(content: Tensor<3>, prev_weights: Tensor<3>, gate: Tensor<3>) -> Tensor<3> {
    let [batch_size, n_heads, _] = content.dims();
    expect_shape("prev_weights", prev_weights.dims(), content.dims());
    expect_shape("gate", gate.dims(), [batch_size, n_heads, 1]);
    prev_weights.clone() + (content - prev_weights) * gate
}

/// Circular convolution: moves weight to rows nearby, and around the ends.
///
/// ```text
/// w̃(i) = Σ_j s(j) wᵍ(i - j)           j = R, R - 1, .., -R        rows mod N
/// ```
///
/// The first number of `shift` moves weight R rows forward, the one in the middle keeps it, the last moves it R rows back.
/// All rotations are one gather and one product, whatever their number.
///
/// # Shapes
/// - weights, output: `[batch_size, n_heads, memory_size]`
/// - shift (s): `[batch_size, n_heads, shift_width]`, `shift_width = 2 R + 1`
///
/// # Panics
/// If the shapes do not fit together or `shift_width` is even.
#[track_caller]
pub fn shift(weights: Tensor<3>, shift: Tensor<3>) -> Tensor<3> {
    let [batch_size, n_heads, memory_size] = weights.dims();
    let shift_width = shift.dims()[2];
    assert!(
        shift_width % 2 == 1,
        "shift is {shift_width} wide; it must be odd"
    );
    expect_shape("shift", shift.dims(), [batch_size, n_heads, shift_width]);
    let rotations = weights
        .select(2, rotated_rows(memory_size, shift_width, &shift.device()))
        .reshape([batch_size, n_heads, shift_width, memory_size]);
    shift
        .unsqueeze_dim::<4>(2)
        .matmul(rotations)
        .reshape([batch_size, n_heads, memory_size])
}

/// For each shift j from R to -R and each row i, the row `i - j` that the weight comes from.
fn rotated_rows(memory_size: usize, shift_width: usize, device: &Device) -> Tensor<1, Int> {
    let range = shift_width / 2;
    // range <= shift_width, so nothing below is negative.
    let rows: Vec<i32> = (0..shift_width)
        .flat_map(|index| {
            (0..memory_size).map(move |row| {
                let back = memory_size * shift_width + row + index - range;
                (back % memory_size) as i32
            })
        })
        .collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}

/// Sharpening: undoes the blur of a shift; γ = 1 changes nothing.
///
/// ```text
/// w(i) = w̃(i)^γ / Σ_j w̃(j)^γ        = softmax_i(γ ln w̃(i))
/// ```
///
/// Weights below 1e-30, zero among them, count as 1e-30, which no gradient reaches. Half precision is computed in single
/// precision.
///
/// # Shapes
/// - weights, output: `[batch_size, n_heads, memory_size]`
/// - sharpening (γ): `[batch_size, n_heads, 1]`
///
/// # Panics
/// If the shapes do not fit together.
#[track_caller]
pub fn sharpen(weights: Tensor<3>, sharpening: Tensor<3>) -> Tensor<3> {
    let [batch_size, n_heads, _] = weights.dims();
    expect_shape("sharpening", sharpening.dims(), [batch_size, n_heads, 1]);
    let dtype = weights.dtype();
    let logs = widened(weights).clamp_min(SMALLEST_WEIGHT).log();
    // Relative to the largest: however large γ is, one row keeps 0.
    let below_largest = logs.clone() - logs.max_dim(2);
    in_type(softmax(below_largest * widened(sharpening), 2), dtype)
}
