//! Sums over the rows of tensors, those of all samples and steps: what a sequence says of the weights.
//!
//! There are many rows, and a result has few numbers. So the rows are cut into parts that cubes sum up side by side, and
//! then the parts are summed up, always in the same order.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, TensorMetadata, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{UNITS, empty, spec};

/// Numbers of a side of what a cube computes of a product, and rows that it holds at a time.
const TILE: usize = 64;
const DEPTH: usize = 16;
/// Rows in a piece of code without a loop: all of them would take software drivers half a minute to compile.
const AT_ONCE: usize = 4;
/// Rows whose sum is made before it is added to that of others, and so many of these sums, and of parts, again. Row after row, a sum of a
/// million numbers of one sign in single precision is off by 4e-4 of itself; so by less than 1e-5.
const BLOCK: usize = 128;
const BLOCKS: usize = 64;
const PARTS: usize = 32;
/// A unit computes so many numbers each way of a tile, those `SIDE` apart.
const EACH: usize = 4;
const SIDE: usize = TILE / EACH;
/// More cubes than this only make more parts.
const MOST_CUBES: usize = 512;

/// `Σ a bᵀ` over the rows of two tensors: `[.., n_a]` and `[.., n_b]` give `[n_a, n_b]`.
pub(crate) fn products_over_rows(a: FloatTensor<Cube>, b: FloatTensor<Cube>) -> FloatTensor<Cube> {
    Cube::products(a, b)
}

/// The sum of all rows: `[.., n]` gives `[n]`.
pub(crate) fn over_rows(rows: FloatTensor<Cube>) -> FloatTensor<Cube> {
    Cube::sums(rows)
}

/// The two operations.
#[backend_extension(Cube, Fusion)]
pub trait SumsOverRows: Backend {
    /// `Σ a bᵀ`.
    #[fusion(meta = products_spec)]
    fn products(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `Σ a`.
    #[fusion(meta = sums_spec)]
    fn sums(rows: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn products_spec(a: &TensorSpec, b: &TensorSpec) -> TensorSpec {
    let width = |tensor: &TensorSpec| tensor.shape[tensor.shape.num_dims() - 1];
    spec([width(a), width(b)])
}

fn sums_spec(rows: &TensorSpec) -> TensorSpec {
    spec([rows.shape[rows.shape.num_dims() - 1]])
}

impl SumsOverRows for CubeBackend {
    fn products(a: CubeTensor, b: CubeTensor) -> CubeTensor {
        let (a, b) = (into_contiguous(a), into_contiguous(b));
        let ([rows, n_a], [_, n_b]) = (flat(&a), flat(&b));
        let tiles = [n_a.div_ceil(TILE), n_b.div_ceil(TILE)];
        let (parts, span) = parts(rows, tiles[0] * tiles[1]);
        let shares = empty(&a, [parts, n_a, n_b]);
        let client = a.client.clone();
        // SAFETY: the kernel stays within the rows and the parts.
        unsafe {
            products_of_part::launch_unchecked(
                &client,
                CubeCount::Static(tiles[0] as u32, tiles[1] as u32, parts as u32),
                CubeDim::new_1d(UNITS as u32),
                a.into_buffer_arg(),
                b.into_buffer_arg(),
                shares.clone().into_buffer_arg(),
                rows,
                n_a,
                n_b,
                span,
            );
        }
        total(shares, parts, [n_a, n_b])
    }

    fn sums(tensor: CubeTensor) -> CubeTensor {
        let tensor = into_contiguous(tensor);
        let [rows, n] = flat(&tensor);
        let tiles = n.div_ceil(TILE);
        let (parts, span) = parts(rows, tiles);
        let shares = empty(&tensor, [parts, n]);
        let client = tensor.client.clone();
        // SAFETY: the kernel stays within the rows and the parts.
        unsafe {
            sums_of_part::launch_unchecked(
                &client,
                CubeCount::Static(tiles as u32, parts as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                tensor.into_buffer_arg(),
                shares.clone().into_buffer_arg(),
                rows,
                n,
                span,
            );
        }
        total(shares, parts, [n])
    }
}

/// Rows, and the numbers of one.
fn flat(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.shape();
    let width = shape[shape.num_dims() - 1];
    [shape.num_elements() / width, width]
}

/// Into how many parts the rows go, where each is the work of so many cubes, and the rows of one.
fn parts(rows: usize, cubes: usize) -> (usize, usize) {
    let most = (MOST_CUBES / cubes).max(1);
    let span = rows.div_ceil(most).next_multiple_of(4 * DEPTH);
    (rows.div_ceil(span), span)
}

/// The sum of all parts.
fn total<const D: usize>(shares: CubeTensor, parts: usize, shape: [usize; D]) -> CubeTensor {
    let result = empty(&shares, shape);
    let count: usize = shape.iter().product();
    let client = shares.client.clone();
    // SAFETY: the kernel stays within the numbers of a part, and the parts.
    unsafe {
        sum_of_all_parts::launch_unchecked(
            &client,
            CubeCount::Static(count.div_ceil(UNITS).min(MOST_CUBES) as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            shares.into_buffer_arg(),
            result.clone().into_buffer_arg(),
            count,
            parts,
        );
    }
    result
}

/// A tile of the product, over the rows of a part.
#[cube(launch_unchecked)]
fn products_of_part(
    // [rows, n_a], [rows, n_b]
    a: &[f32],
    b: &[f32],
    // [parts, n_a, n_b]
    shares: &mut [f32],
    rows: usize,
    n_a: usize,
    n_b: usize,
    span: usize,
) {
    let unit = UNIT_POS as usize;
    let (across, down) = (unit % SIDE, unit / SIDE);
    let first_a = CUBE_POS_X as usize * TILE;
    let first_b = CUBE_POS_Y as usize * TILE;
    let part = CUBE_POS_Z as usize;
    let first = part * span;
    let last = min(first + span, rows);
    let mut tile_a = Shared::<[f32]>::new_slice(comptime!(DEPTH * TILE));
    let mut tile_b = Shared::<[f32]>::new_slice(comptime!(DEPTH * TILE));
    let mut sums = Array::<f32>::new(comptime!(EACH * EACH));
    let mut several = Array::<f32>::new(comptime!(EACH * EACH));
    let mut block = Array::<f32>::new(comptime!(EACH * EACH));
    #[unroll]
    for e in 0..EACH * EACH {
        sums[e] = 0.0f32;
        several[e] = 0.0f32;
        block[e] = 0.0f32;
    }
    for base in range_stepped(first, last, DEPTH) {
        for e in range_stepped(unit, comptime!(DEPTH * TILE), UNITS) {
            let (row, o) = (base + e / TILE, e % TILE);
            let mut of_a = 0.0f32;
            let mut of_b = 0.0f32;
            if row < last {
                if first_a + o < n_a {
                    of_a = a[row * n_a + first_a + o];
                }
                if first_b + o < n_b {
                    of_b = b[row * n_b + first_b + o];
                }
            }
            tile_a[e] = of_a;
            tile_b[e] = of_b;
        }
        sync_cube();
        for held in range_stepped(0usize, DEPTH, AT_ONCE) {
            #[unroll]
            for next in 0..AT_ONCE {
                let row = (held + next) * TILE;
                #[unroll]
                for i in 0..EACH {
                    let of_a = tile_a[row + i * SIDE + down];
                    #[unroll]
                    for j in 0..EACH {
                        block[i * EACH + j] += of_a * tile_b[row + j * SIDE + across];
                    }
                }
            }
        }
        let done = base - first + DEPTH;
        let is_last = base + DEPTH >= last;
        if done.is_multiple_of(BLOCK) || is_last {
            #[unroll]
            for e in 0..EACH * EACH {
                several[e] += block[e];
                block[e] = 0.0f32;
            }
        }
        if done.is_multiple_of(comptime!(BLOCK * BLOCKS)) || is_last {
            #[unroll]
            for e in 0..EACH * EACH {
                sums[e] += several[e];
                several[e] = 0.0f32;
            }
        }
        sync_cube();
    }
    #[unroll]
    for i in 0..EACH {
        #[unroll]
        for j in 0..EACH {
            let row = first_a + i * SIDE + down;
            let column = first_b + j * SIDE + across;
            if row < n_a && column < n_b {
                shares[(part * n_a + row) * n_b + column] = sums[i * EACH + j];
            }
        }
    }
}

/// The sums of a tile's columns, over the rows of a part.
#[cube(launch_unchecked)]
fn sums_of_part(
    // [rows, n]
    numbers: &[f32],
    // [parts, n]
    shares: &mut [f32],
    rows: usize,
    n: usize,
    span: usize,
) {
    let unit = UNIT_POS as usize;
    let (across, down) = (unit % TILE, unit / TILE);
    let column = CUBE_POS_X as usize * TILE + across;
    let part = CUBE_POS_Y as usize;
    let first = part * span;
    let last = min(first + span, rows);
    let mut of_units = Shared::<[f32]>::new_slice(UNITS);
    let mut sum = 0.0f32;
    if column < n {
        for begin in range_stepped(first, last, comptime!(BLOCK * BLOCKS)) {
            let mut several = 0.0f32;
            let until = min(begin + comptime!(BLOCK * BLOCKS), last);
            for base in range_stepped(begin, until, BLOCK) {
                let mut block = 0.0f32;
                let end = min(base + BLOCK, until);
                for row in range_stepped(base + down, end, comptime!(UNITS / TILE)) {
                    block += numbers[row * n + column];
                }
                several += block;
            }
            sum += several;
        }
    }
    of_units[unit] = sum;
    sync_cube();
    if unit < TILE && column < n {
        let mut sum = 0.0f32;
        #[unroll]
        for down in 0..UNITS / TILE {
            sum += of_units[down * TILE + across];
        }
        shares[part * n + column] = sum;
    }
}

/// The sum of all parts.
#[cube(launch_unchecked)]
fn sum_of_all_parts(shares: &[f32], result: &mut [f32], count: usize, parts: usize) {
    let units = CUBE_COUNT_X as usize * UNITS;
    for e in range_stepped(ABSOLUTE_POS, count, units) {
        let mut sum = 0.0f32;
        for first in range_stepped(0usize, parts, PARTS) {
            let mut several = 0.0f32;
            for part in first..min(first + PARTS, parts) {
                several += shares[part * count + e];
            }
            sum += several;
        }
        result[e] = sum;
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
