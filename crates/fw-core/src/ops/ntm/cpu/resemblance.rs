//! How much each row of a memory resembles each key, and the gradients of that.

use super::layout::Layout;
use crate::ops::cpu::{Real, Simd, clear, load, splat, store};
use crate::ops::ntm::addressing::SMALLEST_NORM;

/// `max(|k|, ε)`, and whether the key is so long that its norm is not ε.
#[inline(always)]
unsafe fn key_norm<T: Real>(layout: &Layout, key: *const T) -> (T, bool) {
    let least = T::of(SMALLEST_NORM * SMALLEST_NORM);
    // SAFETY: a key has as many numbers as a word.
    let key = unsafe { core::slice::from_raw_parts(key, layout.word) };
    let squares = key.iter().fold(T::zero(), |sum, k| sum + *k * *k);
    match squares < least {
        true => (least.sqrt(), false),
        false => (squares.sqrt(), true),
    }
}

/// `K(i) = k·M(i) / (max(|k|, ε) max(|M(i)|, ε))` for every head, and `1 / max(|M(i)|, ε)`.
///
/// # Safety
/// `memory` must be a memory, `asked` a row of what the heads ask for, `cosines` a row of slots for each head; the caller must
/// be compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn resemblance<S: Simd, T: Real>(
    layout: &Layout,
    memory: *const T,
    asked: *const T,
    cosines: *mut T,
    inverse_norms: *mut T,
) {
    let width = layout.slots.width;
    // SAFETY: as the caller promises.
    unsafe {
        let key = |head: usize| asked.add(layout.addressing(head));
        let row = |head: usize| cosines.add(head * width);
        // Two heads at a time: the registers hold no more.
        for head in (0..layout.n_heads()).step_by(2) {
            if head + 1 < layout.n_heads() {
                let (keys, rows) = ([key(head), key(head + 1)], [row(head), row(head + 1)]);
                resemblance_of::<S, T, 2>(layout, memory, keys, rows, inverse_norms);
            } else {
                let (keys, rows) = ([key(head)], [row(head)]);
                resemblance_of::<S, T, 1>(layout, memory, keys, rows, inverse_norms);
            }
        }
    }
}

#[inline(always)]
unsafe fn resemblance_of<S: Simd, T: Real, const HEADS: usize>(
    layout: &Layout,
    memory: *const T,
    keys: [*const T; HEADS],
    cosines: [*mut T; HEADS],
    inverse_norms: *mut T,
) {
    /// Vectors at a time: sums apart from one another hide the latency of an addition.
    const WIDE: usize = 4;
    let slots = layout.slots;
    let vectors = slots.vectors();
    // SAFETY: as the caller promises.
    unsafe {
        let inverse = keys.map(|key| splat::<S, T>(key_norm(layout, key).0.recip()));
        macro_rules! block {
            ($wide:ident, $first:expr) => {{
                let first = $first * slots.lanes;
                let mut squares = [splat::<S, T>(T::zero()); $wide];
                let mut dots = [[splat::<S, T>(T::zero()); $wide]; HEADS];
                for place in 0..layout.word {
                    let row = memory.add(place * slots.width + first);
                    let keys = keys.map(|key| splat::<S, T>(*key.add(place)));
                    for vector in 0..$wide {
                        let x = load::<S, T>(row.add(vector * slots.lanes));
                        squares[vector] = x.mul_add(x, squares[vector]);
                        for head in 0..HEADS {
                            dots[head][vector] = keys[head].mul_add(x, dots[head][vector]);
                        }
                    }
                }
                let least = splat::<S, T>(T::of(SMALLEST_NORM * SMALLEST_NORM));
                for vector in 0..$wide {
                    let at = first + vector * slots.lanes;
                    let square = squares[vector];
                    let square = square.lt(least).select(least, square);
                    let inverse_norm = splat::<S, T>(T::one()) / square.sqrt();
                    store::<S, T>(inverse_norms.add(at), inverse_norm);
                    for head in 0..HEADS {
                        let cosine = dots[head][vector] * inverse_norm * inverse[head];
                        store::<S, T>(cosines[head].add(at), cosine);
                    }
                }
            }};
        }
        let mut vector = 0;
        while vector + WIDE <= vectors {
            block!(WIDE, vector);
            vector += WIDE;
        }
        const ONE: usize = 1;
        while vector < vectors {
            block!(ONE, vector);
            vector += 1;
        }
    }
}

/// The gradients of [`resemblance`]: those of K are in `slopes`, which are overwritten. Adds to those of the memory, and
/// writes those of the keys to their places in `of_asked`. `spare` is a row of slots.
///
/// ```text
/// u_h(i) = ∂K_h(i) / (|k_h| |M(i)|)      q(i) = Σ_h ∂K_h(i) K_h(i) / |M(i)|²
/// ∂M(i) += Σ_h u_h(i) k_h - q(i) M(i)
/// ∂k_h   = Σ_i u_h(i) M(i) - k_h Σ_i ∂K_h(i) K_h(i) / |k_h|²
/// ```
///
/// # Safety
/// As for [`resemblance`].
#[allow(
    clippy::too_many_arguments,
    reason = "each is another row, and has one caller"
)]
#[inline(always)]
pub(super) unsafe fn resemblance_back<S: Simd, T: Real>(
    layout: &Layout,
    memory: *const T,
    asked: *const T,
    cosines: *const T,
    inverse_norms: *const T,
    slopes: *mut T,
    of_memory: *mut T,
    of_asked: *mut T,
    spare: *mut T,
) {
    let slots = layout.slots;
    // SAFETY: as the caller promises.
    unsafe {
        let smallest = splat::<S, T>(T::of(SMALLEST_NORM * SMALLEST_NORM).sqrt().recip());
        let zero = splat::<S, T>(T::zero());
        for head in 0..layout.n_heads() {
            let key = asked.add(layout.addressing(head));
            let (norm, is_long) = key_norm(layout, key);
            let inverse = splat::<S, T>(norm.recip());
            let (slopes, cosines) = (
                slopes.add(head * slots.width),
                cosines.add(head * slots.width),
            );
            let mut sum = zero;
            for lane in slots.starts() {
                let slope = load::<S, T>(slopes.add(lane));
                let product = slope * load::<S, T>(cosines.add(lane));
                sum += product;
                let inverse_norm = load::<S, T>(inverse_norms.add(lane));
                // What is no longer than ε has a norm of ε.
                let of_norm = inverse_norm
                    .lt(smallest)
                    .select(product * inverse_norm * inverse_norm, zero);
                let before = if head == 0 {
                    zero
                } else {
                    load::<S, T>(spare.add(lane))
                };
                store::<S, T>(spare.add(lane), before + of_norm);
                store::<S, T>(slopes.add(lane), slope * inverse_norm * inverse);
            }
            let of_key = of_asked.add(layout.addressing(head));
            let share = match is_long {
                true => sum.reduce_add() / (norm * norm),
                false => T::zero(),
            };
            for place in 0..layout.word {
                *of_key.add(place) = -*key.add(place) * share;
            }
        }
        for head in (0..layout.n_heads()).step_by(2) {
            let key = |head: usize| asked.add(layout.addressing(head));
            let of_key = |head: usize| of_asked.add(layout.addressing(head));
            let row = |head: usize| slopes.add(head * slots.width).cast_const();
            if head + 1 < layout.n_heads() {
                let heads = [head, head + 1];
                let [keys, rows] = [heads.map(key), heads.map(row)];
                dots_back::<S, T, 2>(
                    layout,
                    memory,
                    keys,
                    rows,
                    spare,
                    of_memory,
                    heads.map(of_key),
                );
            } else {
                let of_key = [of_key(head)];
                dots_back::<S, T, 1>(
                    layout,
                    memory,
                    [key(head)],
                    [row(head)],
                    spare,
                    of_memory,
                    of_key,
                );
            }
            if head == 0 {
                // The norms take their share once.
                clear(spare, slots.width);
            }
        }
    }
}

/// One pass over the memory: `∂M += Σ_h u_h k_h - q M` and `∂k_h += Σ_i u_h(i) M(i)`.
#[inline(always)]
unsafe fn dots_back<S: Simd, T: Real, const HEADS: usize>(
    layout: &Layout,
    memory: *const T,
    keys: [*const T; HEADS],
    slopes: [*const T; HEADS],
    of_squares: *const T,
    of_memory: *mut T,
    of_keys: [*mut T; HEADS],
) {
    let slots = layout.slots;
    // SAFETY: as the caller promises.
    unsafe {
        for place in 0..layout.word {
            let row = memory.add(place * slots.width);
            let to = of_memory.add(place * slots.width);
            let keys = keys.map(|key| splat::<S, T>(*key.add(place)));
            let mut sums = [splat::<S, T>(T::zero()); HEADS];
            for lane in slots.starts() {
                let x = load::<S, T>(row.add(lane));
                let mut slope = load::<S, T>(to.add(lane)) - load::<S, T>(of_squares.add(lane)) * x;
                for head in 0..HEADS {
                    let u = load::<S, T>(slopes[head].add(lane));
                    sums[head] = u.mul_add(x, sums[head]);
                    slope = u.mul_add(keys[head], slope);
                }
                store::<S, T>(to.add(lane), slope);
            }
            for (of_key, sum) in of_keys.into_iter().zip(sums) {
                *of_key.add(place) += sum.reduce_add();
            }
        }
    }
}
