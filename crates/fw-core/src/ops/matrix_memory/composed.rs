//! The equations in tensor operations, which run on every backend: a step, which is the law, and chunks of steps.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{LogDecay, Sequences, Sizes, WriteRule, check_sequence};
use crate::ops::cut;

/// One step: the output `[batch_size, n_heads, d_value]` and the state after it.
///
/// # Shapes
/// Those of [`Sequences`] of one step; the state `[batch_size, n_heads, d_key, d_value]`.
///
/// # Panics
/// If there are more steps than one, or a shape or a type does not fit.
#[track_caller]
pub fn step(sequences: Sequences, state: Tensor<4>, rule: WriteRule) -> (Tensor<3>, Tensor<4>) {
    let sizes = check_sequence(&sequences, &sequences.spans(), Some(&state));
    let [_, seq_length, _, _] = sequences.query.dims();
    assert!(
        seq_length == 1,
        "there are {seq_length} steps; there must be one"
    );
    let (output, state) = advance(sequences, state, sizes, rule);
    (output.squeeze_dim(1), state)
}

/// [`step`] of what has been checked: the output is `[batch_size, 1, n_heads, d_value]`.
fn advance(
    sequences: Sequences,
    state: Tensor<4>,
    sizes: Sizes,
    rule: WriteRule,
) -> (Tensor<4>, Tensor<4>) {
    let [n_samples, n_heads, d_key, d_value] = sizes.state();
    // Of one step or write, time changes its place for nothing. (Swapping dimensions would be the same, and wrong on a GPU: burn 0.22.1 takes the rows of a sum
    // that is swapped in another order, findings/burn-fusion-sum-that-is-swapped.sh.)
    let row = |rows: Tensor<4>, width| rows.reshape([n_samples, n_heads, 1, width]);
    let mut state = match sequences.log_decay {
        LogDecay::None => state,
        LogDecay::Head(log) => state * log.reshape([n_samples, n_heads, 1, 1]).exp(),
        LogDecay::Channel(log) => state * log.reshape([n_samples, n_heads, d_key, 1]).exp(),
    };
    for write in 0..sizes.writes {
        let key = row(sequences.key.clone().narrow(1, write, 1), d_key);
        let value = row(sequences.value.clone().narrow(1, write, 1), d_value);
        let strength = sequences.write_strength.clone().narrow(1, write, 1);
        let strength = strength.reshape([n_samples, n_heads, 1, 1]);
        let error = match rule {
            WriteRule::Delta => value - key.clone().matmul(state.clone()),
            WriteRule::Sum => value,
        };
        state = state + key.swap_dims(2, 3).matmul(error * strength);
    }
    let output = (row(sequences.query, d_key) * sizes.read_scale).matmul(state.clone());
    (output.reshape([n_samples, 1, n_heads, d_value]), state)
}

/// The whole sequence, in chunks of the length that is usual.
pub(super) fn sequence(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: WriteRule,
) -> (Tensor<4>, Tensor<4>) {
    // Pairs of steps have a decay each, or one for each channel.
    let writes = match &sequences.log_decay {
        LogDecay::Channel(_) => 16,
        _ => 32,
    };
    let chunk = writes / sizes.writes;
    chunked(sequences, state, sizes, rule, chunk.max(1))
}

/// Matrix memories over a whole sequence in chunks of `chunk` steps, by tensor operations: [`matrix_memory`](super::matrix_memory), composed, with a
/// choice. Chunks of one step are the equations as they stand.
///
/// # Panics
/// If `chunk` is 0; and as [`matrix_memory`](super::matrix_memory).
#[track_caller]
pub fn in_chunks(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    rule: WriteRule,
    chunk: usize,
) -> (Tensor<4>, Tensor<4>) {
    assert!(chunk > 0, "chunk is 0; it must be at least 1");
    let sizes = check_sequence(&sequences, &sequences.spans(), state.as_ref());
    chunked(sequences, state, sizes, rule, chunk)
}

fn chunked(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: WriteRule,
    chunk: usize,
) -> (Tensor<4>, Tensor<4>) {
    let options = (&sequences.query.device(), sequences.query.dtype());
    let mut state = state.unwrap_or_else(|| Tensor::zeros(sizes.state(), options));
    let [_, seq_length, _, _] = sequences.query.dims();
    if chunk.min(seq_length) == 1 {
        let mut outputs = Vec::with_capacity(seq_length);
        for step in sequences.cut(&alloc::vec![1; seq_length]) {
            let (output, next) = advance(step, state, sizes, rule);
            outputs.push(output);
            state = next;
        }
        return (Tensor::cat(outputs, 1), state);
    }

    let chunks = Chunks::new(sequences, sizes, rule, chunk.min(seq_length)).cut(sizes);
    let mut outputs = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let (output, next) = chunk.advance(state);
        outputs.push(output);
        state = next;
    }
    let output = Tensor::cat(outputs, 2).swap_dims(1, 2); // [B, T and padding, H, V]
    (output.narrow(1, 0, seq_length), state)
}

/// What chunks are before the memory is known, all of them at once, or [one](Self::cut). G counts samples and heads, N chunks, R reads and W writes of a chunk.
struct Chunks {
    /// `D_{t0} q_t / √K`, `[G, N, R, K]`.
    query: Tensor<4>,
    /// `D_{ts} (q_t · k_s) / √K`, `[G, N, R, W]`.
    reads: Tensor<4>,
    /// What would be written into an empty memory, `[G, N, W, V]`.
    value: Tensor<4>,
    /// What the memory takes from that, `[G, N, W, K]`; nothing, if it is a sum.
    key: Option<Tensor<4>>,
    /// `D_{Cs} k_s`, `[G, N, W, K]`.
    written: Tensor<4>,
    /// `D_{C0}`, `[G, N, 1 or K, 1]`.
    decay: Option<Tensor<4>>,
}

impl Chunks {
    fn new(sequences: Sequences, sizes: Sizes, rule: WriteRule, chunk: usize) -> Self {
        let Sizes {
            n_samples,
            n_heads,
            writes,
            ..
        } = sizes;
        let [_, seq_length, _, _] = sequences.query.dims();
        let n_chunks = seq_length.div_ceil(chunk);
        let n_writes = chunk * writes;
        // Steps that are not there write nothing, since their write strength is 0, and fade nothing.
        let in_chunks = |sequence: Tensor<4>, rows: usize| {
            let [_, n_rows, _, width] = sequence.dims();
            let missing = n_chunks * rows - n_rows;
            let like = (&sequence.device(), sequence.dtype());
            let whole = match missing {
                0 => sequence,
                _ => {
                    let nothing = Tensor::zeros([n_samples, missing, n_heads, width], like);
                    Tensor::cat(alloc::vec![sequence, nothing], 1)
                }
            };
            whole
                .swap_dims(1, 2)
                .reshape([n_samples * n_heads, n_chunks, rows, width])
        };
        let query = in_chunks(sequences.query, chunk) * sizes.read_scale;
        let key = in_chunks(sequences.key, n_writes);
        let strength = in_chunks(sequences.write_strength.unsqueeze_dim(3), n_writes);
        let value = in_chunks(sequences.value, n_writes) * strength.clone();
        let log = match sequences.log_decay {
            LogDecay::None => None,
            LogDecay::Head(log) => Some(in_chunks(log.unsqueeze_dim(3), chunk)),
            LogDecay::Channel(log) => Some(in_chunks(log, chunk)),
        };
        let decays = log.map(|log| Decays { log, writes });

        let device = key.device();
        let dtype = key.dtype();
        let seen = mask(
            chunk,
            writes,
            |step, write| write / writes <= step,
            &device,
            dtype,
        );
        let earlier = mask(n_writes, 1, |write, other| other < write, &device, dtype);
        let transposed = key.clone().swap_dims(2, 3);
        let pairs = |rows: &Tensor<4>, n: usize| match &decays {
            None => rows.clone().matmul(transposed.clone()),
            Some(decays) => decays.products(rows, &key, n),
        };
        let reads = pairs(&query, 1) * seen;
        let (value, taken) = match rule {
            WriteRule::Sum => (value, None),
            WriteRule::Delta => {
                let system = pairs(&key, writes) * earlier * strength.clone();
                let inverse = inverse_of_unit_lower(system);
                let faded = match &decays {
                    None => key.clone(),
                    Some(decays) => key.clone() * decays.since_start(writes),
                };
                (
                    inverse.clone().matmul(value),
                    Some(inverse.matmul(faded * strength)),
                )
            }
        };
        Chunks {
            query: match &decays {
                None => query,
                Some(decays) => query * decays.since_start(1),
            },
            reads,
            value,
            key: taken,
            written: match &decays {
                None => key,
                Some(decays) => key * decays.to_end(),
            },
            decay: decays.map(|decays| decays.whole()),
        }
    }

    /// Each chunk by itself, `[B, H, ..]`.
    fn cut(self, sizes: Sizes) -> Vec<Chunks> {
        let [_, n_chunks, _, _] = self.query.dims();
        let each = |rows: Tensor<4>| {
            let [_, _, rows_of_chunk, width] = rows.dims();
            let shape = [sizes.n_samples, sizes.n_heads, rows_of_chunk, width];
            let chunks = cut(rows, 1, &alloc::vec![1; n_chunks]).into_iter();
            chunks.map(move |chunk| chunk.reshape(shape))
        };
        let (mut query, mut reads) = (each(self.query), each(self.reads));
        let (mut value, mut written) = (each(self.value), each(self.written));
        let (mut key, mut decay) = (self.key.map(each), self.decay.map(each));
        let next = "every part has as many chunks";
        let chunk = |_| Chunks {
            query: query.next().expect(next),
            reads: reads.next().expect(next),
            value: value.next().expect(next),
            key: key.as_mut().map(|key| key.next().expect(next)),
            written: written.next().expect(next),
            decay: decay.as_mut().map(|decay| decay.next().expect(next)),
        };
        (0..n_chunks).map(chunk).collect()
    }

    /// The outputs `[B, H, R, V]` of one chunk, and the state after it.
    fn advance(self, state: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let written = match self.key {
            None => self.value,
            Some(key) => self.value - key.matmul(state.clone()),
        };
        let output = self.query.matmul(state.clone()) + self.reads.matmul(written.clone());
        let kept = match self.decay {
            None => state,
            Some(decay) => state * decay,
        };
        let state = kept + self.written.swap_dims(2, 3).matmul(written);
        (output, state)
    }
}

/// The decays between the steps of a chunk, as sums of logarithms that are all at most 0.
struct Decays {
    /// `[G, N, R, 1 or K]`.
    log: Tensor<4>,
    /// In a step.
    writes: usize,
}

impl Decays {
    /// Sums of the logarithms over the steps that `is_between` names, for each of `n` rows: `[G, N, n, 1 or K]`.
    fn sums(&self, n: usize, is_between: impl Fn(usize, usize) -> bool) -> Tensor<4> {
        let [_, _, chunk, _] = self.log.dims();
        let mask = mask_of([n, chunk], is_between, &self.log.device(), self.log.dtype());
        mask.matmul(self.log.clone())
    }

    /// `D_{t0}` of rows of which a step has `n`: `[G, N, R n, 1 or K]`.
    fn since_start(&self, n: usize) -> Tensor<4> {
        let [_, _, chunk, _] = self.log.dims();
        self.sums(chunk * n, |row, step| step <= row / n).exp()
    }

    /// `D_{Cs}` of writes: `[G, N, W, 1 or K]`.
    fn to_end(&self) -> Tensor<4> {
        let [_, _, chunk, _] = self.log.dims();
        self.sums(chunk * self.writes, |write, step| {
            step > write / self.writes
        })
        .exp()
    }

    /// `D_{C0}`, `[G, N, 1 or K, 1]`.
    fn whole(&self) -> Tensor<4> {
        let [groups, n_chunks, _, width] = self.log.dims();
        let sums = self.log.clone().sum_dim(2);
        sums.exp().reshape([groups, n_chunks, width, 1])
    }

    /// `D_{ts} (row_t · k_s)` of rows of which a step has `n`: `[G, N, R n, W]`. Where s is later than t the decay is 1.
    fn products(&self, rows: &Tensor<4>, key: &Tensor<4>, n: usize) -> Tensor<4> {
        let [groups, n_chunks, chunk, channels] = self.log.dims();
        let (n_rows, n_writes) = (chunk * n, chunk * self.writes);
        // Of every pair, a row of the matrix: which steps lie between them.
        let between = |pair: usize, step: usize| {
            let (row, write) = (pair / n_writes / n, pair % n_writes / self.writes);
            write < step && step <= row
        };
        let decay = self.sums(n_rows * n_writes, between).exp();
        if channels == 1 {
            let decay = decay.reshape([groups, n_chunks, n_rows, n_writes]);
            return rows.clone().matmul(key.clone().swap_dims(2, 3)) * decay;
        }
        let decay = decay.reshape([groups * n_chunks, n_rows, n_writes, channels]);
        let spread = |rows: &Tensor<4>, shape| rows.clone().reshape::<4, _>(shape);
        let rows = spread(rows, [groups * n_chunks, n_rows, 1, channels]);
        let key = spread(key, [groups * n_chunks, 1, n_writes, channels]);
        (decay * rows * key)
            .sum_dim(3)
            .reshape([groups, n_chunks, n_rows, n_writes])
    }
}

/// 1 where a step and one of the writes, of which it has `writes`, stand to each other as asked: `[1, 1, n, n writes]`.
fn mask(
    n: usize,
    writes: usize,
    holds: impl Fn(usize, usize) -> bool,
    device: &Device,
    dtype: DType,
) -> Tensor<4> {
    mask_of([n, n * writes], holds, device, dtype)
}

fn mask_of(
    [rows, columns]: [usize; 2],
    holds: impl Fn(usize, usize) -> bool,
    device: &Device,
    dtype: DType,
) -> Tensor<4> {
    let holds = &holds;
    let numbers: Vec<f32> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| if holds(row, column) { 1.0 } else { 0.0 }))
        .collect();
    Tensor::from_data(
        TensorData::new(numbers, [1, 1, rows, columns]),
        (device, dtype),
    )
}

/// `(I + A)⁻¹` of matrices whose numbers lie below the diagonal, row after row: products of A with itself would lose all digits where keys resemble
/// each other.
fn inverse_of_unit_lower(a: Tensor<4>) -> Tensor<4> {
    let [_, _, n, _] = a.dims();
    let identity = mask(n, 1, |row, column| row == column, &a.device(), a.dtype());
    let unit = |row: usize| identity.clone().narrow(2, row, 1);
    let [groups, n_chunks, _, _] = a.dims();
    let mut inverse: Tensor<4> = unit(0).repeat(&[groups, n_chunks, 1, 1]);
    for row in 1..n {
        let before = a.clone().narrow(2, row, 1).narrow(3, 0, row);
        let next = unit(row) - before.matmul(inverse.clone());
        inverse = Tensor::cat(alloc::vec![inverse, next], 2);
    }
    inverse
}
