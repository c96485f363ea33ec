//! Holographic memory with redundant copies (Plate 2003; Danihelka, Wayne, Uria, Kalchbrenner, Graves
//! 2016, "Associative Long Short-Term Memory", sections 2 and 3).
//!
//! A complex vector of n components is a real one of 2n: real parts first, imaginary parts after. Keys
//! and values are such vectors; a pair is stored as their elementwise complex product, pairs are stored on
//! top of each other by addition, and a value is read back by a product with a key:
//!
//! ```text
//! c_s = Σ_k (P_s r_k) ⊛ x_k                 copy s of the memory, s = 1..N
//! x̃   = mean_s (P_s r) ⊛ c_s                what key r reads
//! ```
//!
//! The conjugate of a stored key of modulus 1 reads its value back (`r = r̄_k` gives `x_k`, plus noise from the other
//! pairs); the Associative LSTM learns its output key apart from its input key instead. `⊛` is the elementwise
//! complex product and `P_s` permutes a key's components, differently for
//! each copy: the noise of the other pairs differs from copy to copy, and the mean lowers it.

use alloc::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::precision::{in_type, widened};

/// What keeps the gradient of the modulus finite at 0.
const MODULUS_EPSILON: f64 = 1e-12;

/// The elementwise complex product: `(a + ib)(c + id) = (ac - bd) + i(ad + bc)`.
///
/// # Shapes
/// - both operands and the product: `[.., 2n]` on the last axis, real parts first
///
/// # Panics
/// If a last axis is odd, or the shapes do not fit together.
#[track_caller]
pub fn complex_product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    let (a, b) = split(left);
    let (c, d) = split(right);
    let real = a.clone() * c.clone() - b.clone() * d.clone();
    let imaginary = a * d + b * c;
    Tensor::cat(alloc::vec![real, imaginary], D - 1)
}

/// Scales each complex component down to modulus 1 where it is larger: `bound(z) = z / max(1, |z|)`.
///
/// Half precision is computed in single precision.
///
/// # Shapes
/// - `[.., 2n]` on the last axis, real parts first
///
/// # Panics
/// If the last axis is odd.
#[track_caller]
pub fn bound<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    let dtype = input.dtype();
    let input = widened(input);
    let (real, imaginary) = split(input.clone());
    // Below 1 the clamp's gradient is 0, so the root's slope at 0 only has to be finite.
    let modulus = (real.square() + imaginary.square() + MODULUS_EPSILON).sqrt();
    let divisor = modulus.clamp_min(1.0);
    let bounded = input / Tensor::cat(alloc::vec![divisor.clone(), divisor], D - 1);
    in_type(bounded, dtype)
}

/// A key's permuted copies: `[batch_size, 2n]` to `[batch_size, n_copies, 2n]`.
///
/// `permutations` is what [`copy_permutations`] gave, `[n_copies * 2n]`.
///
/// # Panics
/// If the permutations are not of keys so wide.
#[track_caller]
pub fn permuted_copies(key: Tensor<2>, permutations: Tensor<1, Int>) -> Tensor<3> {
    let ([batch_size, width], [n_positions]) = (key.dims(), permutations.dims());
    assert!(
        width > 0 && n_positions.is_multiple_of(width),
        "there are {n_positions} positions; they must be as many for each copy as the key is wide, {width}, and that at least 1"
    );
    let n_copies = n_positions / width;
    key.select(1, permutations)
        .reshape([batch_size, n_copies, width])
}

/// Fixed random permutations `P_s` of n complex components, one for each copy, as positions in a
/// real vector of 2n: `n_copies * 2n` numbers. A component's real and imaginary part move together. The same
/// `seed` gives the same permutations on every machine.
pub fn copy_permutations(n_components: usize, n_copies: usize, seed: u64) -> TensorData {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut positions = Vec::with_capacity(2 * n_components * n_copies);
    for _ in 0..n_copies {
        let mut permutation: Vec<i64> = (0..n_components as i64).collect();
        permutation.shuffle(&mut rng);
        positions.extend_from_slice(&permutation);
        positions.extend(permutation.iter().map(|&i| i + n_components as i64));
    }
    let n_positions = positions.len();
    TensorData::new(positions, [n_positions])
}

/// Real and imaginary parts.
#[track_caller]
fn split<const D: usize>(input: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let width = input.dims()[D - 1];
    assert!(
        width.is_multiple_of(2),
        "the last axis is {width} wide; it must be even: real parts, then imaginary parts"
    );
    let real = input.clone().narrow(D - 1, 0, width / 2);
    let imaginary = input.narrow(D - 1, width / 2, width / 2);
    (real, imaginary)
}
