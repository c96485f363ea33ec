//! Runs of a layer over segments: in one call of its kernel, or in waves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use burn::tensor::{Device, Tensor};

use super::{Piece, Segments};
use crate::ops::{Span, Spans, cut, rows};
use crate::recurrent::{check_input, expect_state};
use crate::{Recurrent, RecurrentState};

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
    segments.expect_batch_of(&input);
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
