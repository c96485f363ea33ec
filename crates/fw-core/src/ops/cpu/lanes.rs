//! Floats in the lanes of a vector register, of whatever instruction set the machine has.

use core::ops::AddAssign;

use burn::tensor::Element;
use macerator::{
    ReduceAdd, ReduceMax, Scalar, Simd, VAdd, VDiv, VMul, VMulAdd, VOrd, VSelect, VSqrt, VSub,
    Vector,
};
use num_traits::Float;

use crate::ops::Activation;

/// A number that the kernels compute with: `f32` or `f64`.
pub(crate) trait Real:
    Element
    + Float
    + AddAssign
    + VAdd
    + VSub
    + VMul
    + VDiv
    + VMulAdd
    + VSqrt
    + VOrd
    + VSelect
    + ReduceAdd
    + ReduceMax
    + Send
    + Sync
{
    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The hyperbolic tangent in every lane of each vector. Here and below, several vectors cost little more than one, whose
    /// steps wait for one another. (Loops, not a function that takes a closure: the closure would not be inlined where the
    /// instructions of S are.)
    fn tanh_each<S: Simd, const N: usize>(x: [Vector<S, Self>; N]) -> [Vector<S, Self>; N];

    /// e^x in every lane of each vector. In single precision it is 0 below -87.3 and stops growing at 88.
    fn exp_each<S: Simd, const N: usize>(x: [Vector<S, Self>; N]) -> [Vector<S, Self>; N];

    /// The natural logarithm in every lane of each vector, of positive numbers that are not subnormal.
    fn ln_each<S: Simd, const N: usize>(x: [Vector<S, Self>; N]) -> [Vector<S, Self>; N];

    /// [`tanh_each`](Self::tanh_each) of one vector.
    #[inline(always)]
    fn tanh_lanes<S: Simd>(x: Vector<S, Self>) -> Vector<S, Self> {
        Self::tanh_each::<S, 1>([x])[0]
    }

    /// [`exp_each`](Self::exp_each) of one vector.
    #[inline(always)]
    fn exp_lanes<S: Simd>(x: Vector<S, Self>) -> Vector<S, Self> {
        Self::exp_each::<S, 1>([x])[0]
    }

    /// [`ln_each`](Self::ln_each) of one vector.
    #[inline(always)]
    fn ln_lanes<S: Simd>(x: Vector<S, Self>) -> Vector<S, Self> {
        Self::ln_each::<S, 1>([x])[0]
    }
}

/// Runs a body along a row of whole vectors: `$n` vectors from `$lane` on, four at a time and then, of those left, one.
macro_rules! in_fours {
    ($row:expr, |$n:ident, $lane:ident| $body:block) => {{
        let row: $crate::ops::cpu::Row = $row;
        let mut next = 0;
        while next + 4 * row.lanes <= row.width {
            const $n: usize = 4;
            let $lane = next;
            $body
            next += 4 * row.lanes;
        }
        while next < row.width {
            const $n: usize = 1;
            let $lane = next;
            $body
            next += row.lanes;
        }
    }};
}
pub(crate) use in_fours;

/// The logistic function in every lane.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd, T: Real>(x: Vector<S, T>) -> Vector<S, T> {
    let half = splat::<S, T>(T::of(0.5));
    T::tanh_lanes::<S>(x * half).mul_add(half, half)
}

/// log σ(x) and its slope σ(-x) in every lane: the slope with all its digits where it is small, too.
#[inline(always)]
pub(crate) fn log_sigmoid<S: Simd, T: Real>(x: Vector<S, T>) -> [Vector<S, T>; 2] {
    let [zero, one] = [T::zero(), T::one()].map(|number| splat::<S, T>(number));
    // log σ(x) = min(x, 0) - log(1 + exp(-|x|))
    let power = T::exp_lanes::<S>(zero.le(x).select(zero - x, x));
    let log = zero.le(x).select(zero, x) - T::ln_lanes::<S>(one + power);
    [log, zero.le(x).select(power, one) / (one + power)]
}

/// The slope of [`sigmoid`] where its value is y.
#[inline(always)]
pub(crate) fn sigmoid_slope<S: Simd, T: Real>(y: Vector<S, T>) -> Vector<S, T> {
    y - y * y
}

/// The slope of the hyperbolic tangent where its value is y.
#[inline(always)]
pub(crate) fn tanh_slope<S: Simd, T: Real>(y: Vector<S, T>) -> Vector<S, T> {
    splat::<S, T>(T::one()) - y * y
}

/// f in every lane.
#[inline(always)]
pub(crate) fn activated<S: Simd, T: Real>(activation: Activation, x: Vector<S, T>) -> Vector<S, T> {
    let zero = splat::<S, T>(T::zero());
    match activation {
        // Not a maximum: that would hide a NaN.
        Activation::Relu => x.le(zero).select(zero, x),
        Activation::Tanh => T::tanh_lanes::<S>(x),
    }
}

/// The gradient of x from that of `y = f(x)`.
#[inline(always)]
pub(crate) fn times_slope<S: Simd, T: Real>(
    activation: Activation,
    y: Vector<S, T>,
    gradient: Vector<S, T>,
) -> Vector<S, T> {
    let zero = splat::<S, T>(T::zero());
    match activation {
        Activation::Relu => y.le(zero).select(zero, gradient),
        Activation::Tanh => tanh_slope(y) * gradient,
    }
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }

    /// A rational function of odd degree 13 over even degree 6, which is within 5e-7 of the hyperbolic
    /// tangent and reaches 1 in f32 where it is cut off.
    #[inline(always)]
    fn tanh_each<S: Simd, const N: usize>(mut x: [Vector<S, f32>; N]) -> [Vector<S, f32>; N] {
        const LARGEST: f32 = 7.905_311;
        const ODD: [f32; 7] = [
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297e-8,
            1.485_722_4e-5,
            6.372_619_3e-4,
            4.893_524_6e-3,
        ];
        const EVEN: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
        let (least, largest) = (splat::<S, f32>(-LARGEST), splat::<S, f32>(LARGEST));
        // Not min and max: those would hide a NaN.
        for x in &mut x {
            *x = x.gt(largest).select(largest, *x);
            *x = x.lt(least).select(least, *x);
        }
        let mut square = x;
        for x in &mut square {
            *x = *x * *x;
        }
        let mut tanh = polynomial(&ODD, &square);
        let denominator = polynomial(&EVEN, &square);
        for i in 0..N {
            tanh[i] = x[i] * tanh[i] / denominator[i];
        }
        tanh
    }

    /// `2^n e^r` with r at most half a ln 2, by a polynomial of degree 7 (Cephes): within 2e-7 of the number.
    #[inline(always)]
    fn exp_each<S: Simd, const N: usize>(mut x: [Vector<S, f32>; N]) -> [Vector<S, f32>; N] {
        const LEAST: f32 = -87.3;
        const LARGEST: f32 = 88.0;
        /// ln 2, in two parts: the first times a small whole number is exact.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        const SERIES: [f32; 6] = [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            0.166_666_65,
            0.5,
        ];
        let (least, largest) = (splat::<S, f32>(LEAST), splat::<S, f32>(LARGEST));
        let (one, log_2_e) = (
            splat::<S, f32>(1.0),
            splat::<S, f32>(core::f32::consts::LOG2_E),
        );
        let (mut n, mut r) = (x, x);
        for i in 0..N {
            x[i] = x[i].gt(largest).select(largest, x[i]);
            let cut = x[i].lt(least).select(least, x[i]);
            n[i] = (cut * log_2_e).round_to_int().to_float();
            r[i] = n[i].mul_add(splat::<S, f32>(-LN_2[0]), cut);
            r[i] = n[i].mul_add(splat::<S, f32>(-LN_2[1]), r[i]);
        }
        let mut power = polynomial(&SERIES, &r);
        for i in 0..N {
            let fraction = power[i].mul_add(r[i] * r[i], r[i] + one);
            let exponent = (n[i].round_to_int() + 127_i32.splat::<S>()) << 23;
            power[i] = fraction * S::typed::<f32>(*exponent);
            power[i] = x[i].lt(least).select(splat::<S, f32>(0.0), power[i]);
        }
        power
    }

    /// `n ln 2 + ln m` with m from √½ to √2, by the series of `ln (1 + f)` in `f / (2 + f)` (fdlibm): within 1e-7 of the
    /// number, relatively.
    #[inline(always)]
    fn ln_each<S: Simd, const N: usize>(x: [Vector<S, f32>; N]) -> [Vector<S, f32>; N] {
        const SQRT_HALF: i32 = 0x3f35_04f3;
        const MANTISSA: i32 = 0x007f_ffff;
        const LN_2: [f32; 2] = [0.693_138_1, 9.058_001e-6];
        const SERIES: [f32; 4] = [0.242_790_79, 0.284_987_87, 0.400_009_72, 0.666_666_6];
        let (mut n, mut f, mut s, mut square) = (x, x, x, x);
        for i in 0..N {
            let above = S::typed::<i32>(*x[i]) - SQRT_HALF.splat::<S>();
            n[i] = (above >> 23).to_float();
            let mantissa = (above & MANTISSA.splat::<S>()) + SQRT_HALF.splat::<S>();
            f[i] = S::typed::<f32>(*mantissa) - splat::<S, f32>(1.0);
            s[i] = f[i] / (f[i] + splat::<S, f32>(2.0));
            square[i] = s[i] * s[i];
        }
        let mut ln = polynomial(&SERIES, &square);
        for i in 0..N {
            let half = f[i] * f[i] * splat::<S, f32>(0.5);
            let least = n[i] * splat::<S, f32>(LN_2[1]);
            let small = s[i].mul_add(ln[i].mul_add(square[i], half), least);
            ln[i] = n[i].mul_add(splat::<S, f32>(LN_2[0]), f[i] - (half - small));
            // The bits of infinity, and of what is not a number, would make one.
            ln[i] = x[i].lt(splat::<S, f32>(f32::INFINITY)).select(ln[i], x[i]);
        }
        ln
    }
}

/// A polynomial by Horner's rule, the coefficient of the highest power first, of several vectors in lockstep.
#[inline(always)]
fn polynomial<S: Simd, const N: usize, const DEGREE: usize>(
    coefficients: &[f32; DEGREE],
    x: &[Vector<S, f32>; N],
) -> [Vector<S, f32>; N] {
    let mut sums = [splat::<S, f32>(coefficients[0]); N];
    for coefficient in &coefficients[1..] {
        let coefficient = splat::<S, f32>(*coefficient);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sum.mul_add(*x, coefficient);
        }
    }
    sums
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn tanh_each<S: Simd, const N: usize>(x: [Vector<S, f64>; N]) -> [Vector<S, f64>; N] {
        in_each_lane(x, Float::tanh)
    }

    #[inline(always)]
    fn exp_each<S: Simd, const N: usize>(x: [Vector<S, f64>; N]) -> [Vector<S, f64>; N] {
        in_each_lane(x, Float::exp)
    }

    #[inline(always)]
    fn ln_each<S: Simd, const N: usize>(x: [Vector<S, f64>; N]) -> [Vector<S, f64>; N] {
        in_each_lane(x, Float::ln)
    }
}

/// A function of the standard library, lane by lane.
#[inline(always)]
fn in_each_lane<S: Simd, const N: usize>(
    mut x: [Vector<S, f64>; N],
    f: impl Fn(f64) -> f64,
) -> [Vector<S, f64>; N] {
    /// Lanes of f64 in the widest registers.
    const MOST: usize = 8;
    let n_lanes = <f64 as macerator::Scalar>::lanes::<S>();
    assert!(n_lanes <= MOST);
    for x in &mut x {
        let mut lanes = [0.0; MOST];
        // SAFETY: the array has room for every lane.
        unsafe {
            store::<S, f64>(lanes.as_mut_ptr(), *x);
            for lane in &mut lanes[..n_lanes] {
                *lane = f(*lane);
            }
            *x = load::<S, f64>(lanes.as_ptr());
        }
    }
    x
}

/// The lanes that begin at `pointer`.
///
/// # Safety
/// A whole vector must be readable there.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd, T: Real>(pointer: *const T) -> Vector<S, T> {
    // SAFETY: as the caller promises.
    unsafe { T::vload_unaligned::<S>(pointer) }
}

/// Puts the lanes at `pointer`.
///
/// # Safety
/// A whole vector must be writable there.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, T: Real>(pointer: *mut T, lanes: Vector<S, T>) {
    // SAFETY: as the caller promises.
    unsafe { T::vstore_unaligned::<S>(pointer, lanes) }
}

/// The same number in every lane.
#[inline(always)]
pub(crate) fn splat<S: Simd, T: Real>(value: T) -> Vector<S, T> {
    value.splat::<S>()
}

/// Asks for `len` numbers to be brought into the cache: a backward pass reads its tape against the direction that
/// the machine foresees. Any address may be asked for.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len * size_of::<T>()).step_by(64) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (pointer, len);
}

#[cfg(test)]
mod tests {
    use burn::tensor::cast::ToElement;
    use macerator::WithSimd;

    use super::*;

    #[test]
    fn functions_in_lanes_are_those_of_the_standard_library() {
        struct Check;
        impl WithSimd for Check {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self) {
                check::<S, f32>(1e-6, 2e-7);
                check::<S, f64>(1e-15, 1e-15);
            }
        }

        fn check<S: Simd, T: Real>(absolute: f64, relative: f64) {
            let value = |lanes: Vector<S, T>| {
                let mut room = [T::zero(); 64];
                // SAFETY: no register has 64 lanes.
                unsafe { store::<S, T>(room.as_mut_ptr(), lanes) };
                ToElement::to_f64(&room[0])
            };
            let assert_near = |name: &str, x: f64, actual: f64, expected: f64, tolerance: f64| {
                let error = (actual - expected).abs();
                assert!(error <= tolerance, "{name}({x}) is off by {error:e}");
            };
            for x in (-2000..=2000).map(|step| step as f64 * 0.01) {
                let lanes = splat::<S, T>(T::of(x));
                let x = ToElement::to_f64(&T::of(x));
                assert_near("tanh", x, value(T::tanh_lanes(lanes)), x.tanh(), absolute);
                let near = relative * x.exp();
                assert_near("exp", x, value(T::exp_lanes(lanes)), x.exp(), near);
                let [log, of_rest] = log_sigmoid::<S, T>(lanes).map(value);
                let expected = 1.0 / (1.0 + x.exp());
                let near = 4.0 * relative * expected;
                assert_near("σ(-x)", x, of_rest, expected, near);
                let near = absolute + relative * x.abs();
                assert_near("log σ", x, log, -(-x).exp().ln_1p(), near);
                // From 1e-35 to 1e35.
                let power = T::of(10_f64.powf(x * 1.75));
                let x = ToElement::to_f64(&power);
                let ln = value(T::ln_lanes(splat::<S, T>(power)));
                assert_near("ln", x, ln, x.ln(), relative * x.ln().abs());
            }
            for nothing in [-1e3, -1e30, f64::NEG_INFINITY] {
                assert_eq!(value(T::exp_lanes(splat::<S, T>(T::of(nothing)))), 0.0);
            }
            assert_eq!(value(T::exp_lanes(splat::<S, T>(T::zero()))), 1.0);
            assert_eq!(value(T::ln_lanes(splat::<S, T>(T::one()))), 0.0);
            assert_eq!(
                value(T::ln_lanes(splat::<S, T>(T::infinity()))),
                f64::INFINITY
            );
            for f in [T::tanh_lanes::<S>, T::exp_lanes::<S>, T::ln_lanes::<S>] {
                assert!(value(f(splat::<S, T>(T::nan()))).is_nan());
            }
        }

        macerator::AutoArch::new().dispatch(Check);
    }
}
