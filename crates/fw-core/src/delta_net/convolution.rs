//! The short convolution of queries, keys and values over the last steps.

use alloc::vec;
use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::initializer::uniform;
use crate::ops::convolution::short_convolution;
use crate::ops::precision::widened;
use crate::ops::{ExecutionPath, Spans, rows};

/// A causal convolution of each channel with weights of its own over a step and those just before it.
///
/// ```text
/// y_t = Σ_j w_j x_{t - size + 1 + j}            j = 0..size
/// ```
///
/// where `w` is [`weight`](Self::weight), uniform in ±1/√size at the start; steps before the first are 0.
#[derive(Module, Debug)]
pub struct ShortConvolution {
    /// `[channels, 1, size]`, the weight of the step itself last.
    pub weight: Param<Tensor<3>>,
}

impl ShortConvolution {
    pub(crate) fn init(channels: usize, size: usize, device: &Device) -> Self {
        ShortConvolution {
            weight: uniform(size).init([channels, 1, size], device),
        }
    }
}

/// The convolution of all steps behind the first `size - 1`, and SiLU of it, but for the first `n_linear` channels: from `[batch_size, n, channels]` to
/// `[batch_size, n - size + 1, channels]`, half precision in single precision. The weights of neighbouring channels come one after another.
pub(crate) fn convolve(
    steps: Tensor<3>,
    weights: Vec<Tensor<3>>,
    n_linear: usize,
    path: ExecutionPath,
) -> Tensor<3> {
    let weight = widened(Tensor::cat(weights, 0)); // [channels, 1, size]
    let taps = weight.squeeze_dim::<2>(1).transpose();
    short_convolution(widened(steps), taps, n_linear, path)
}

/// Spans, each with the steps that come before it: one sequence, over which one convolution can go.
pub(super) struct PaddedSpans {
    /// Of each row of that sequence, its place among the rows of the spans; behind them those that come before, span after span.
    padded: Vec<usize>,
    /// Where in the convolution's outputs the row of each step is.
    steps: Vec<usize>,
    /// Where in that sequence those rows are that the next steps see, in the order of the ends.
    recent: Vec<usize>,
    n_before: usize,
}

impl PaddedSpans {
    /// With `n_before` steps before each. The steps before are those of the state of each span, or else zeros, of which there is one row.
    pub(super) fn new(spans: &Spans, n_before: usize, has_state: bool) -> Self {
        let n_rows = spans.n_rows();
        let mut padded = Vec::with_capacity(n_rows + spans.n_samples() * n_before);
        let mut steps = vec![0; n_rows];
        let mut recent = vec![0; spans.n_ends() * n_before];
        for sample in 0..spans.n_samples() {
            let span = spans.of(sample);
            let start = padded.len();
            padded.extend((0..n_before).map(|index| match has_state {
                true => n_rows + sample * n_before + index,
                false => n_rows,
            }));
            padded.extend(span.first..span.first + span.n_steps);
            for step in 0..span.n_steps {
                steps[span.first + step] = start + step;
            }
            if let Some(end) = span.end {
                for index in 0..n_before {
                    recent[end * n_before + index] = start + span.n_steps + index;
                }
            }
        }
        PaddedSpans {
            padded,
            steps,
            recent,
            n_before,
        }
    }

    /// What a convolution makes of the rows `[n_rows, channels]`, `[1, n_rows, channels]`, and the recent steps after each end,
    /// `[n_ends, n_before, channels]`.
    pub(super) fn convolve(
        &self,
        of_spans: Tensor<2>,
        before: Option<Tensor<3>>,
        convolve: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let [_, channels] = of_spans.dims();
        let before = match before {
            Some(before) => {
                let [n_samples, n_before, _] = before.dims();
                before.reshape([n_samples * n_before, channels])
            }
            None => Tensor::zeros([1, channels], (&of_spans.device(), of_spans.dtype())),
        };
        let padded = rows(Tensor::cat(vec![of_spans, before], 0), &self.padded);
        let recent = rows(padded.clone(), &self.recent);
        let n_ends = self.recent.len() / self.n_before;
        let convolved = convolve(padded.unsqueeze_dim(0));
        let convolved = rows(convolved.squeeze_dim::<2>(0), &self.steps);
        (
            convolved.unsqueeze_dim(0),
            recent.reshape([n_ends, self.n_before, channels]),
        )
    }
}
