//! Sequences of unequal lengths in one batch, and sequences that begin anew on the way.

mod run;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{Bool, Device, Tensor, TensorData};

pub use run::forward_groups;
pub(crate) use run::{forward_segments, starts};

/// Which steps of a batch are there, and before which a sample begins anew: padded batches, packed documents, and episodes that end on the way.
///
/// [`Recurrent::forward_segments`](crate::Recurrent::forward_segments) runs a layer over it as if each piece were run alone.
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
/// Where there is no such kernel (GPUs, composed forms, layers without [`forward_spans`](crate::Recurrent::forward_spans)) those that are there at the
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

    /// True at steps that are not there, `[batch_size, seq_length, 1]`.
    pub(crate) fn padding(&self, device: &Device) -> Tensor<3, Bool> {
        let n = self.seq_length;
        let steps = self.lengths.iter();
        let is_padding = steps.flat_map(|length| (0..n).map(move |step| step >= *length));
        let is_padding: Vec<bool> = is_padding.collect();
        Tensor::from_data(
            TensorData::new(is_padding, [self.batch_size(), n, 1]),
            device,
        )
    }

    /// Panics unless the input is of this batch.
    #[track_caller]
    pub(crate) fn expect_batch_of(&self, input: &Tensor<3>) {
        let [batch_size, seq_length, _] = input.dims();
        let [n_samples, n_steps] = [self.batch_size(), self.seq_length];
        assert!(
            [n_samples, n_steps] == [batch_size, seq_length],
            "the input has {batch_size} samples of {seq_length} steps; the segments are of {n_samples} samples of {n_steps} steps"
        );
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
