//! Sequences of unequal lengths in one batch, and sequences that begin anew on the way.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use burn::tensor::{Device, Tensor};

use crate::ops::{Span, Spans, cut};
use crate::recurrent::{check_input, expect_state};
use crate::state::rows;
use crate::{Recurrent, RecurrentState};

/// Which steps of a batch are there, and before which a sample begins anew: padded batches, packed documents, and episodes that end on the way.
///
/// [`Recurrent::forward_segments`] runs a layer over it as if each piece were run alone.
///
/// # Cost
///
/// Padding is not computed. On a CPU the kernels take pieces of unequal lengths as they are, one behind the other: forward and backward of 64 samples of
/// 100 steps take, beside a plain batch, the share of the time that is in the table, with samples of 20 to 99 steps, and with one step in ten a beginning
/// (two cores, `cargo bench -p fw-benches --bench sequences`). A state that is given costs a second call, for those that go on from it.
///
/// | | lengths | beginnings |
/// |---|---:|---:|
/// | LSTM 128 | 0.7 | 1.1 |
/// | GRU 128 | 0.7 | 1.0 |
/// | fast weights 64 | 0.8 | 0.8 |
/// | Turing machine, 128 x 20 | 0.7 | 1.7: each piece has a memory of its own |
/// | SAB over LSTM 128 | 0.7 | 1.1 |
///
/// Where there is no such kernel (GPUs, composed forms, layers without [`forward_spans`](Recurrent::forward_spans)) those that are there at the
/// same time, counted from their own beginnings, run together: a batch takes as many runs of the layer as there are different lengths of pieces. Where nothing begins
/// anew and nothing is padded there is no cost.
///
/// ```text
/// lengths 5, 3:    x x x x x        one document of 2 steps and one of 3, packed in
///                  x x x . .        the first row:  resets  0 0 1 0 0
/// ```
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{LstmConfig, Recurrent, Segments};
///
/// let device = Device::flex();
/// let layer = LstmConfig::new(1, 4).init(&device);
/// let input = Tensor::<3>::from_data([[[1.0], [2.0], [3.0]], [[1.0], [2.0], [f32::NAN]]], &device);
///
/// let segments = Segments::new(2, 3).with_lengths(&[3, 2])?;
/// let (output, state) = layer.forward_segments(input.clone(), None, &segments);
///
/// // The second sample alone, without its padding.
/// let alone = input.narrow(0, 1, 1).narrow(1, 0, 2);
/// let (expected, expected_state) = layer.forward(alone, None);
/// let numbers = |tensor: Tensor<3>| tensor.try_into_vec_as::<f32>().unwrap();
/// assert_eq!(numbers(output.clone().narrow(0, 1, 1).narrow(1, 0, 2)), numbers(expected));
/// assert_eq!(numbers(output.narrow(0, 1, 1).narrow(1, 2, 1)), [0.0; 4]);
/// let last = |tensor: Tensor<2>| tensor.try_into_vec_as::<f32>().unwrap();
/// assert_eq!(last(state.hidden.narrow(0, 1, 1)), last(expected_state.hidden));
/// # Ok::<(), fw_core::SegmentsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    seq_length: usize,
    lengths: Vec<usize>,
    /// Of each sample the steps before which it begins anew, ascending, all below its length.
    resets: Vec<Vec<usize>>,
}

/// Lengths or flags that do not fit a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SegmentsError {
    problem: String,
}

/// A piece of a sample that is run by itself.
#[derive(Clone, Copy, Debug)]
struct Piece {
    sample: usize,
    /// Its first step.
    first: usize,
    /// At least 1.
    length: usize,
    /// Whether it begins anew, not with the state that was given.
    is_new: bool,
}

impl Segments {
    /// A batch of which every step is there, and no sample begins anew.
    pub fn new(batch_size: usize, seq_length: usize) -> Self {
        Segments {
            seq_length,
            lengths: vec![seq_length; batch_size],
            resets: vec![Vec::new(); batch_size],
        }
    }

    /// The same with as many steps of each sample; what follows is padding. Flags behind a sample's length count for nothing.
    ///
    /// # Errors
    /// Unless there is a length for each sample, from 0 to the sequence's.
    pub fn with_lengths(mut self, lengths: &[usize]) -> Result<Self, SegmentsError> {
        self.check_count("lengths", lengths.len())?;
        if let Some(sample) = lengths.iter().position(|length| *length > self.seq_length) {
            return Err(SegmentsError::new(format!(
                "lengths[{sample}] is {}; it must be at most seq_length, {}",
                lengths[sample], self.seq_length
            )));
        }
        self.lengths = lengths.to_vec();
        for (resets, length) in self.resets.iter_mut().zip(lengths) {
            resets.retain(|step| step < length);
        }
        Ok(self)
    }

    /// The same with a flag for each step of each sample: begin anew before this step. Before the first step it means that the given state is
    /// not used.
    ///
    /// # Errors
    /// Unless there is a row of flags for each sample, and in it one for each step.
    pub fn with_resets(mut self, resets: &[Vec<bool>]) -> Result<Self, SegmentsError> {
        self.check_count("resets", resets.len())?;
        for (sample, flags) in resets.iter().enumerate() {
            if flags.len() != self.seq_length {
                return Err(SegmentsError::new(format!(
                    "resets[{sample}] has {} flags; it must have one for each of the {} steps",
                    flags.len(),
                    self.seq_length
                )));
            }
            let steps = flags.iter().take(self.lengths[sample]).enumerate();
            let steps = steps
                .filter(|(_, is_reset)| **is_reset)
                .map(|(step, _)| step);
            self.resets[sample] = steps.collect();
        }
        Ok(self)
    }

    /// Rows into which documents are packed, one behind the other: of each row the lengths of its documents. Every document begins anew; what a
    /// row has left is padding.
    ///
    /// ```
    /// use fw_core::Segments;
    ///
    /// let packed = Segments::packed(&[vec![2, 3], vec![4]], 5)?;
    /// let flags = [vec![true, false, true, false, false], vec![true, false, false, false, false]];
    /// assert_eq!(packed, Segments::new(2, 5).with_lengths(&[5, 4])?.with_resets(&flags)?);
    /// # Ok::<(), fw_core::SegmentsError>(())
    /// ```
    ///
    /// # Errors
    /// If the documents of a row are longer than it.
    pub fn packed(documents: &[Vec<usize>], seq_length: usize) -> Result<Self, SegmentsError> {
        let mut segments = Segments::new(documents.len(), seq_length);
        for (row, lengths) in documents.iter().enumerate() {
            let total: usize = lengths.iter().sum();
            if total > seq_length {
                return Err(SegmentsError::new(format!(
                    "the documents of row {row} have {total} steps; there must be at most seq_length, {seq_length}"
                )));
            }
            let mut first = 0;
            for length in lengths.iter().filter(|length| **length > 0) {
                segments.resets[row].push(first);
                first += length;
            }
            segments.lengths[row] = total;
        }
        Ok(segments)
    }

    /// Samples of the batch.
    pub fn batch_size(&self) -> usize {
        self.lengths.len()
    }

    /// Steps of each sample, padding included.
    pub fn seq_length(&self) -> usize {
        self.seq_length
    }

    /// Steps of each sample that are there.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    fn check_count(&self, name: &str, n: usize) -> Result<(), SegmentsError> {
        let batch_size = self.batch_size();
        match n == batch_size {
            true => Ok(()),
            false => Err(SegmentsError::new(format!(
                "{name} are of {n} samples; the batch has {batch_size}"
            ))),
        }
    }

    /// Whether every step is there and no sample begins anew.
    pub(crate) fn is_plain(&self) -> bool {
        let all_there = self.lengths.iter().all(|length| *length == self.seq_length);
        all_there && self.resets.iter().all(Vec::is_empty)
    }

    /// The pieces, sample by sample.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (sample, (length, resets)) in self.lengths.iter().zip(&self.resets).enumerate() {
            let given = (*length > 0 && resets.first() != Some(&0)).then_some((0, false));
            let new = resets.iter().map(|step| (*step, true));
            let starts: Vec<(usize, bool)> = given.into_iter().chain(new).collect();
            for (index, (first, is_new)) in starts.iter().enumerate() {
                let end = starts.get(index + 1).map_or(*length, |(next, _)| *next);
                pieces.push(Piece {
                    sample,
                    first: *first,
                    length: end - first,
                    is_new: *is_new,
                });
            }
        }
        pieces
    }

    /// Of each step of each sample the one that is in its place when every piece is read from its end.
    pub(crate) fn reversed(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.batch_size() * self.seq_length).collect();
        for piece in self.pieces() {
            let first = piece.sample * self.seq_length + piece.first;
            order[first..first + piece.length].reverse();
        }
        order
    }
}

impl SegmentsError {
    fn new(problem: String) -> Self {
        SegmentsError { problem }
    }
}

/// Runs samples together that have the same key, such as the step that they are at: for layers of which a step is not the same at every time.
///
/// `run` is called for each key with its samples' inputs and states; outputs and states come back in the order of the batch. If all samples have one
/// key, or there are none, it is `run` of everything.
///
/// # Panics
/// Unless there is a key for each sample, or if the states cannot be joined.
#[track_caller]
pub fn forward_groups<S: RecurrentState, K: Ord>(
    input: Tensor<3>,
    state: S,
    keys: impl IntoIterator<Item = K>,
    run: impl Fn(Tensor<3>, S) -> (Tensor<3>, S),
) -> (Tensor<3>, S) {
    let mut groups = BTreeMap::<K, Vec<usize>>::new();
    for (sample, key) in keys.into_iter().enumerate() {
        groups.entry(key).or_default().push(sample);
    }
    if groups.len() < 2 {
        return run(input, state);
    }
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for samples in groups.values() {
        let state = state.clone().select_samples(samples);
        let (output, state) = run(rows(input.clone(), samples), state);
        outputs.push(output);
        states.push(state);
    }
    let order: Vec<usize> = groups.into_values().flatten().collect();
    let order = inverse(&order);
    let output = rows(Tensor::cat(outputs, 0), &order);
    (output, joined(states).select_samples(&order))
}

/// Where each number below the length stands in an order of them.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, index) in order.iter().enumerate() {
        places[*index] = place;
    }
    places
}

/// [`Recurrent::forward_segments`]: by the layer's kernel for spans, or else in waves.
#[track_caller]
pub(crate) fn forward_segments<R: Recurrent>(
    layer: &R,
    input: Tensor<3>,
    state: Option<R::State>,
    segments: &Segments,
) -> (Tensor<3>, R::State) {
    check_input(&input, layer.d_input());
    let [batch_size, seq_length, d_input] = input.dims();
    let expected = [segments.batch_size(), segments.seq_length()];
    assert!(
        expected == [batch_size, seq_length],
        "the input has {batch_size} samples of {seq_length} steps; the segments are of {} samples of {} steps",
        expected[0],
        expected[1]
    );
    if segments.is_plain() || batch_size == 0 {
        return layer.forward(input, state);
    }
    if let Some(state) = &state {
        expect_state(layer, state, &input);
    }
    let pieces = segments.pieces();
    let (device, dtype) = (input.device(), input.dtype());
    if pieces.is_empty() {
        let shape = [batch_size, seq_length, layer.d_output()];
        let first = || layer.initial_state(batch_size, &device);
        let state = layer.uniform(state.unwrap_or_else(first));
        return (Tensor::zeros(shape, (&device, dtype)), state);
    }
    let flat = input.reshape([batch_size * seq_length, d_input]);
    let (output, state) = match in_spans(layer, &flat, state.as_ref(), &pieces, segments) {
        Some(result) => result,
        None => in_waves(layer, flat, state, pieces, segments),
    };
    (
        output.reshape([batch_size, seq_length, layer.d_output()]),
        state,
    )
}

/// Pieces that begin in the same way, for one call of a kernel.
struct Spanned {
    spans: Spans,
    /// Their samples, in the order of the spans.
    samples: Vec<usize>,
    /// The places in the batch of the rows that the spans are of.
    rows: Vec<usize>,
    /// The samples that end with them, in the order of the ends.
    ending: Vec<usize>,
}

impl Spanned {
    /// The pieces must come sample by sample, each in its order; there must be one.
    fn new(pieces: impl Iterator<Item = Piece>, segments: &Segments) -> Self {
        let (mut rows, mut ending, mut spans, mut samples) = (vec![], vec![], vec![], vec![]);
        for piece in pieces {
            let is_last = piece.first + piece.length == segments.lengths[piece.sample];
            spans.push(Span {
                first: rows.len(),
                n_steps: piece.length,
                end: is_last.then_some(ending.len()),
            });
            if is_last {
                ending.push(piece.sample);
            }
            samples.push(piece.sample);
            let first = piece.sample * segments.seq_length + piece.first;
            rows.extend(first..first + piece.length);
        }
        let (spans, order) = Spans::new(&spans);
        Spanned {
            spans,
            samples: order.iter().map(|index| samples[*index]).collect(),
            rows,
            ending,
        }
    }
}

/// All pieces by the layer's kernel: those that go on from the given state in one call, those that begin anew in another. Of a batch without a
/// given state all begin in the same way.
#[track_caller]
fn in_spans<R: Recurrent>(
    layer: &R,
    input: &Tensor<2>,
    state: Option<&R::State>,
    pieces: &[Piece],
    segments: &Segments,
) -> Option<(Tensor<2>, R::State)> {
    let (batch_size, n_rows) = (segments.batch_size(), input.dims()[0]);
    let (device, dtype) = (input.device(), input.dtype());
    let given = state.map(|state| layer.uniform(state.clone()));
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    // Where the output of each row and the last state of each sample are, one call's behind the other's.
    let padding = segments.lengths.iter().sum();
    let (mut places_of_rows, mut n_done) = (vec![padding; n_rows], 0);
    let (mut places_of_ends, mut n_ended) = (vec![usize::MAX; batch_size], 0);
    for is_new in [false, true] {
        let of_call = |piece: &&Piece| (piece.is_new || given.is_none()) == is_new;
        let mut of_call = pieces.iter().filter(of_call).copied().peekable();
        if of_call.peek().is_none() {
            continue;
        }
        let spanned = Spanned::new(of_call, segments);
        let start = given.as_ref().filter(|_| !is_new);
        let start = start.map(|state| state.clone().select_samples(&spanned.samples));
        let there = rows(input.clone(), &spanned.rows);
        let (output, state) = layer.forward_spans(&there, start, &spanned.spans)?;
        outputs.push(output);
        for row in &spanned.rows {
            places_of_rows[*row] = n_done;
            n_done += 1;
        }
        // Never of no samples: with Burn 0.22.1 on a GPU, what waits beside a tensor without numbers is not computed.
        if !spanned.ending.is_empty() {
            states.push(state);
        }
        for sample in spanned.ending {
            places_of_ends[sample] = n_ended;
            n_ended += 1;
        }
    }
    if n_ended < batch_size {
        // Those that are not there at all end with what they began with.
        let first = || layer.uniform(layer.initial_state(batch_size, &device));
        states.push(given.unwrap_or_else(first));
        for (sample, place) in places_of_ends.iter_mut().enumerate() {
            if *place == usize::MAX {
                *place = n_ended + sample;
            }
        }
    }
    if n_done < n_rows {
        outputs.push(Tensor::zeros([1, layer.d_output()], (&device, dtype)));
    }
    let output = rows(joined_rows(outputs), &places_of_rows);
    let state = joined(states);
    let is_in_order = places_of_ends.iter().copied().eq(0..n_ended);
    let state = match is_in_order && state.batch_size() == Some(n_ended) {
        true => state,
        false => state.select_samples(&places_of_ends),
    };
    Some((output, state))
}

/// Rows one behind the other.
fn joined_rows(mut tensors: Vec<Tensor<2>>) -> Tensor<2> {
    match tensors.len() {
        1 => tensors.remove(0),
        _ => Tensor::cat(tensors, 0),
    }
}

/// Pieces that are there at the same time, counted from their own beginnings, run together: first all of them for as long as the shortest,
/// then the others up to the next length, and so on. Each state is taken where its piece ends, and no step is computed that is not there.
#[track_caller]
fn in_waves<R: Recurrent>(
    layer: &R,
    input: Tensor<2>,
    state: Option<R::State>,
    mut pieces: Vec<Piece>,
    segments: &Segments,
) -> (Tensor<2>, R::State) {
    let (device, dtype, d_input) = (input.device(), input.dtype(), layer.d_input());
    pieces.sort_by_key(|piece| Reverse(piece.length));
    let walk = Walk::new(&pieces, segments);
    let starts = Starts::new(layer, state, segments.batch_size(), &device, &pieces);

    let n_rows = walk.rows.len();
    let there = rows(input, &walk.rows).reshape([n_rows, 1, d_input]);
    let projected = layer.project(there);
    let width = projected.dims()[2];
    let of_waves = walk.waves.iter().map(|wave| wave.n_pieces * wave.n_steps);
    let of_waves = cut(projected, 0, &of_waves.collect::<Vec<usize>>());
    let mut outputs = Vec::new();
    let mut ended = Vec::new();
    let mut going_on = Some(starts.of_pieces);
    for (wave, steps) in walk.waves.iter().zip(of_waves) {
        let n_rows = wave.n_pieces * wave.n_steps;
        let steps = steps.reshape([wave.n_pieces, wave.n_steps, width]);
        let (output, state) = layer.forward_projected(steps, going_on);
        outputs.push(output.reshape([n_rows, layer.d_output()]));
        let state = layer.uniform(state);
        // Never of no samples: see `in_spans`.
        let ending: Vec<usize> = (wave.n_going_on..wave.n_pieces).collect();
        ended.push(state.clone().select_samples(&ending));
        let others: Vec<usize> = (0..wave.n_going_on).collect();
        going_on = (!others.is_empty()).then(|| state.select_samples(&others));
    }
    ended.extend(starts.of_absent);

    outputs.push(Tensor::zeros([1, layer.d_output()], (&device, dtype)));
    let output = rows(Tensor::cat(outputs, 0), &walk.places_of_steps);
    (output, joined(ended).select_samples(&walk.places_of_ends))
}

#[track_caller]
fn joined<S: RecurrentState>(states: Vec<S>) -> S {
    match S::cat_samples(states) {
        Ok(state) => state,
        Err(error) => panic!("{error}"),
    }
}

/// States to begin with, in their one form.
struct Starts<S> {
    /// Of each piece.
    of_pieces: S,
    /// Of all samples, if one has no step at all: that one ends with what it began with.
    of_absent: Option<S>,
}

impl<S: RecurrentState> Starts<S> {
    #[track_caller]
    fn new<R: Recurrent<State = S>>(
        layer: &R,
        given: Option<S>,
        batch_size: usize,
        device: &Device,
        pieces: &[Piece],
    ) -> Self {
        let present: BTreeSet<usize> = pieces.iter().map(|piece| piece.sample).collect();
        let is_any_absent = present.len() < batch_size;
        let first = |n| layer.uniform(layer.initial_state(n, device));
        let Some(given) = given else {
            return Starts {
                of_pieces: first(pieces.len()),
                of_absent: is_any_absent.then(|| first(batch_size)),
            };
        };
        let of_absent = is_any_absent.then(|| layer.uniform(given.clone()));
        let begins = pieces.iter().map(|piece| (piece.sample, piece.is_new));
        Starts {
            of_pieces: starts(layer, given, begins, device),
            of_absent,
        }
    }
}

/// For each of what begins, a sample and whether it begins anew, the sample's state or the layer's first; in their one form.
#[track_caller]
pub(crate) fn starts<R: Recurrent>(
    layer: &R,
    given: R::State,
    begins: impl Iterator<Item = (usize, bool)> + Clone,
    device: &Device,
) -> R::State {
    let given = layer.uniform(given);
    let n_new = begins.clone().filter(|(_, is_new)| *is_new).count();
    let mut next_new = given.batch_size().unwrap_or(0)..;
    let chosen = begins.map(|(sample, is_new)| match is_new {
        true => next_new.next().expect("without an end"),
        false => sample,
    });
    let chosen: Vec<usize> = chosen.collect();
    let all = match n_new {
        0 => given,
        n => joined(vec![given, layer.uniform(layer.initial_state(n, device))]),
    };
    all.select_samples(&chosen)
}

/// Pieces that run together, for as many steps.
struct Wave {
    n_pieces: usize,
    n_steps: usize,
    /// Those that are not at their end then.
    n_going_on: usize,
}

/// What is run in which order, from the longest piece on, and where its results come to lie.
struct Walk {
    waves: Vec<Wave>,
    /// The steps of all waves, by their places in the batch.
    rows: Vec<usize>,
    /// Of each step of the batch its place among those; behind them, if it is padding.
    places_of_steps: Vec<usize>,
    /// Of each sample the place of its last state among those of the pieces in the order in which they end; behind them its own number, if it has
    /// no piece.
    places_of_ends: Vec<usize>,
}

impl Walk {
    /// The pieces must be sorted by their lengths, the longest first.
    fn new(pieces: &[Piece], segments: &Segments) -> Self {
        let (batch_size, seq_length) = (segments.batch_size(), segments.seq_length);
        let mut walk = Walk {
            waves: Vec::new(),
            rows: Vec::new(),
            places_of_steps: vec![0; batch_size * seq_length],
            places_of_ends: (0..batch_size)
                .map(|sample| pieces.len() + sample)
                .collect(),
        };
        let mut last_steps = vec![0; batch_size];
        let (mut done, mut n_pieces, mut n_ended) = (0, pieces.len(), 0);
        while n_pieces > 0 {
            let length = pieces[n_pieces - 1].length;
            for piece in &pieces[..n_pieces] {
                let first = piece.sample * seq_length + piece.first;
                walk.rows.extend(first + done..first + length);
            }
            let n_going_on = pieces.partition_point(|piece| piece.length > length);
            walk.waves.push(Wave {
                n_pieces,
                n_steps: length - done,
                n_going_on,
            });
            for piece in &pieces[n_going_on..n_pieces] {
                let end = piece.first + piece.length;
                if end > last_steps[piece.sample] {
                    last_steps[piece.sample] = end;
                    walk.places_of_ends[piece.sample] = n_ended;
                }
                n_ended += 1;
            }
            (done, n_pieces) = (length, n_going_on);
        }
        let padding = walk.rows.len();
        walk.places_of_steps.fill(padding);
        for (place, row) in walk.rows.iter().enumerate() {
            walk.places_of_steps[*row] = place;
        }
        walk
    }
}
