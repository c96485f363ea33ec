//! What one step of one sample recalls: scores, selection, weights, summary; and their gradients.

use core::ops::Range;

use super::super::{SPARSIFIER_EPSILON, Score, Sparsifier};
use super::layout::Layout;
use crate::ops::cpu::{Real, Simd, Vector, in_fours, load, splat, store};

/// The score of each of n memories, in the order of their keys.
///
/// # Safety
/// `query` must be a row of attention units and `keys` so many, one behind the other, `scores` have room for the scores, and the caller be
/// compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, T: Real>(
    layout: &Layout,
    v: &[T],
    query: *const T,
    keys: *const T,
    n: usize,
    scores: *mut T,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let v = v.as_ptr();
        for at in 0..n {
            let key = keys.add(at * layout.attention.width);
            let mut sum = splat::<S, T>(T::zero());
            let place = |row: *const T, lane: usize| load::<S, T>(row.add(lane));
            match layout.score {
                Score::Mlp => in_fours!(layout.attention, |N, first| {
                    let lane = |index: usize| first + index * layout.attention.lanes;
                    let mut x = [sum; N];
                    for (index, x) in x.iter_mut().enumerate() {
                        *x = place(query, lane(index)) + place(key, lane(index));
                    }
                    for (index, tanh) in T::tanh_each::<S, N>(x).into_iter().enumerate() {
                        sum = place(v, lane(index)).mul_add(tanh, sum);
                    }
                }),
                Score::ScaledDot => {
                    for lane in layout.attention.starts() {
                        sum = place(query, lane).mul_add(place(key, lane), sum);
                    }
                }
                Score::Released => {
                    for lane in layout.attention.starts() {
                        sum += place(query, lane) + place(key, lane);
                    }
                }
            }
            *scores.add(at) = sum.reduce_add();
        }
    }
}

/// The memories that take part, and their scores where their weights will be. Returns how many take part.
///
/// # Safety
/// `scores` must hold those of the visible memories; `indices` and `weights` must have room for those that take part.
#[inline(always)]
pub(super) unsafe fn select<T: Real>(
    layout: &Layout,
    visible: Range<usize>,
    scores: *const T,
    indices: *mut u32,
    weights: *mut T,
) -> usize {
    let n = visible.len();
    let taken = layout.options.n_selected(n);
    // SAFETY: as the caller promises.
    unsafe {
        if !layout.options.is_crowded(n) {
            for at in 0..n {
                *indices.add(at) = (visible.start + at) as u32;
                *weights.add(at) = *scores.add(at);
            }
            return n;
        }
        // Sorted by insertion, the best first; of equal ones the first stays before the second.
        let mut count = 0;
        for at in 0..n {
            let score = *scores.add(at);
            if count == taken {
                if !is_better(score, *weights.add(count - 1)) {
                    continue;
                }
                count -= 1;
            }
            let mut place = count;
            while place > 0 && is_better(score, *weights.add(place - 1)) {
                *weights.add(place) = *weights.add(place - 1);
                *indices.add(place) = *indices.add(place - 1);
                place -= 1;
            }
            *weights.add(place) = score;
            *indices.add(place) = (visible.start + at) as u32;
            count += 1;
        }
        count
    }
}

/// Whether a score goes before another. A NaN goes first: it must not be lost.
#[inline(always)]
fn is_better<T: Real>(score: T, other: T) -> bool {
    score > other || (score.is_nan() && !other.is_nan())
}

/// Which rule makes weights of scores.
enum Rule<T> {
    Softmax,
    /// In proportion to what is above the last score by more than this.
    AboveLast(T),
    Raw,
}

impl<T: Real> Rule<T> {
    fn of(layout: &Layout, n: usize) -> Self {
        match (layout.options.sparsifier, layout.options.is_crowded(n)) {
            (Sparsifier::Softmax, _) | (Sparsifier::Threshold, false) => Rule::Softmax,
            (Sparsifier::Threshold, true) => Rule::AboveLast(T::zero()),
            (Sparsifier::Released, true) => Rule::AboveLast(T::of(SPARSIFIER_EPSILON)),
            (Sparsifier::Released, false) => Rule::Raw,
        }
    }
}

/// Makes weights of the scores of those that take part; returns what they were divided by. `n` is the number of
/// visible memories.
pub(super) fn sparsify<T: Real>(layout: &Layout, n: usize, weights: &mut [T]) -> T {
    match Rule::of(layout, n) {
        Rule::Raw => T::one(),
        Rule::Softmax => {
            let best = weights
                .iter()
                .fold(T::neg_infinity(), |best, &a| best.max(a));
            let mut sum = T::zero();
            for weight in weights.iter_mut() {
                *weight = (*weight - best).exp();
                sum += *weight;
            }
            for weight in weights.iter_mut() {
                *weight = *weight / sum;
            }
            sum
        }
        Rule::AboveLast(margin) => {
            let Some(&last) = weights.last() else {
                return T::one();
            };
            let threshold = last + margin;
            let mut sum = T::of(SPARSIFIER_EPSILON);
            for weight in weights.iter_mut() {
                let above = *weight - threshold;
                // Not max: that would hide a NaN.
                *weight = if above < T::zero() { T::zero() } else { above };
                sum += *weight;
            }
            for weight in weights.iter_mut() {
                *weight = *weight / sum;
            }
            sum
        }
    }
}

/// Turns the gradients of the weights into those of the scores.
pub(super) fn sparsify_back<T: Real>(
    layout: &Layout,
    n: usize,
    weights: &[T],
    sum: T,
    slopes: &mut [T],
) {
    let rule = Rule::<T>::of(layout, n);
    if let Rule::Raw = rule {
        return;
    }
    let mean = weights
        .iter()
        .zip(slopes.iter())
        .fold(T::zero(), |mean, (&weight, &slope)| mean + weight * slope);
    match rule {
        Rule::Raw => {}
        Rule::Softmax => {
            for (slope, &weight) in slopes.iter_mut().zip(weights) {
                *slope = weight * (*slope - mean);
            }
        }
        Rule::AboveLast(_) => {
            let mut of_threshold = T::zero();
            for (slope, &weight) in slopes.iter_mut().zip(weights) {
                *slope = if weight == T::zero() {
                    T::zero()
                } else {
                    (*slope - mean) / sum
                };
                of_threshold += *slope;
            }
            if let Some(last) = slopes.last_mut() {
                *last = *last - of_threshold;
            }
        }
    }
}

/// Adds the gradient of a score to those of the query, of the key, and of v.
///
/// # Safety
/// The pointers must be rows of attention units; the caller must be compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn score_back<S: Simd, T: Real>(
    layout: &Layout,
    v: &[T],
    slope: T,
    (query, key): (*const T, *const T),
    (of_query, of_key, of_v): (*mut T, *mut T, *mut T),
) {
    let slope = splat::<S, T>(slope);
    let attention = layout.attention;
    // SAFETY: as the caller promises.
    unsafe {
        let place = |row: *const T, lane: usize| load::<S, T>(row.add(lane));
        let add = |to: *mut T, lane: usize, more: Vector<S, T>| {
            store::<S, T>(to.add(lane), load::<S, T>(to.add(lane)) + more);
        };
        match layout.score {
            Score::Mlp => in_fours!(attention, |N, first| {
                let lane = |index: usize| first + index * attention.lanes;
                let mut x = [slope; N];
                for (index, x) in x.iter_mut().enumerate() {
                    *x = place(query, lane(index)) + place(key, lane(index));
                }
                for (index, tanh) in T::tanh_each::<S, N>(x).into_iter().enumerate() {
                    let lane = lane(index);
                    let scaled = slope * place(v.as_ptr(), lane);
                    let of_sum = scaled - scaled * tanh * tanh;
                    add(of_query, lane, of_sum);
                    add(of_key, lane, of_sum);
                    add(of_v, lane, slope * tanh);
                }
            }),
            Score::ScaledDot => {
                for lane in attention.starts() {
                    add(of_query, lane, slope * place(key, lane));
                    add(of_key, lane, slope * place(query, lane));
                }
            }
            Score::Released => {
                for lane in attention.starts() {
                    let slope = slope * place(v.as_ptr(), lane);
                    add(of_query, lane, slope);
                    add(of_key, lane, slope);
                }
            }
        }
    }
}
