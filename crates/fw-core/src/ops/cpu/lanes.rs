//! Floats in the lanes of a vector register, of whatever instruction set the machine has.

use core::ops::AddAssign;

use burn::tensor::Element;
use macerator::{ReduceAdd, Simd, VAdd, VDiv, VMul, VMulAdd, VOrd, VSelect, VSub, Vector};
use num_traits::Float;

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
    + VOrd
    + VSelect
    + ReduceAdd
    + Send
    + Sync
{
    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The hyperbolic tangent in every lane.
    fn tanh_lanes<S: Simd>(x: Vector<S, Self>) -> Vector<S, Self>;
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }

    /// A rational function of odd degree 13 over even degree 6, which is within 5e-7 of the hyperbolic
    /// tangent and reaches 1 in f32 where it is cut off.
    #[inline(always)]
    fn tanh_lanes<S: Simd>(x: Vector<S, f32>) -> Vector<S, f32> {
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
        let x = x.gt(largest).select(largest, x);
        let x = x.lt(least).select(least, x);
        let square = x * x;
        let mut numerator = splat::<S, f32>(ODD[0]);
        for coefficient in &ODD[1..] {
            numerator = numerator.mul_add(square, splat::<S, f32>(*coefficient));
        }
        let mut denominator = splat::<S, f32>(EVEN[0]);
        for coefficient in &EVEN[1..] {
            denominator = denominator.mul_add(square, splat::<S, f32>(*coefficient));
        }
        x * numerator / denominator
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn tanh_lanes<S: Simd>(x: Vector<S, f64>) -> Vector<S, f64> {
        /// Lanes of f64 in the widest registers.
        const MOST: usize = 8;
        let mut lanes = [0.0; MOST];
        debug_assert!(<f64 as macerator::Scalar>::lanes::<S>() <= MOST);
        // SAFETY: the array has room for every lane.
        unsafe {
            store::<S, f64>(lanes.as_mut_ptr(), x);
            for lane in &mut lanes {
                *lane = Float::tanh(*lane);
            }
            load::<S, f64>(lanes.as_ptr())
        }
    }
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
    fn the_hyperbolic_tangent_in_lanes_is_that_of_the_standard_library() {
        struct Check;
        impl WithSimd for Check {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self) {
                check::<S, f32>(1e-6);
                check::<S, f64>(1e-15);
            }
        }

        fn check<S: Simd, T: Real>(tolerance: f64) {
            let mut lanes = [T::zero(); 64];
            for x in (-2000..=2000).map(|step| step as f64 * 0.01) {
                let tanh = T::tanh_lanes::<S>(splat::<S, T>(T::of(x)));
                // SAFETY: no register has 64 lanes.
                unsafe { store::<S, T>(lanes.as_mut_ptr(), tanh) };
                let expected = ToElement::to_f64(&T::of(x)).tanh();
                let error = ToElement::to_f64(&lanes[0]) - expected;
                assert!(error.abs() <= tolerance, "tanh({x}) is off by {error:e}");
            }
        }

        macerator::AutoArch::new().dispatch(Check);
    }

    #[test]
    fn the_hyperbolic_tangent_of_nan_is_nan() {
        struct Check;
        impl WithSimd for Check {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self) {
                let mut lanes = [0.0_f32; 64];
                let tanh = f32::tanh_lanes::<S>(splat::<S, f32>(f32::NAN));
                // SAFETY: no register has 64 lanes.
                unsafe { store::<S, f32>(lanes.as_mut_ptr(), tanh) };
                assert!(lanes[0].is_nan());
            }
        }

        macerator::AutoArch::new().dispatch(Check);
    }
}
