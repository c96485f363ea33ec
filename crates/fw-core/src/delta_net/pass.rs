//! From the projection of a sequence to the outputs of a DeltaNet.

use alloc::vec;
use alloc::vec::Vec;

use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Tensor};

use super::convolution::convolve;
use super::gate::log_decay;
use super::{DecayKind, DeltaNet, DeltaNetState, FeatureMap};
use crate::ExecutionPath;
use crate::maps::cut_widths;
use crate::ops::matrix_memory::{LogDecay, Sequences, matrix_memory};
use crate::ops::precision::{in_type, widened};
use crate::ops::{cut, project_linear};

/// What the projection of a sequence consists of.
pub(super) struct Parts {
    /// Queries, keys and values, side by side.
    pub(super) mixed: Tensor<3>,
    pub(super) strength: Option<Tensor<3>>,
    pub(super) decay: Option<Tensor<3>>,
    pub(super) gate: Option<Tensor<3>>,
}

impl DeltaNet {
    /// What the maps of the input have yielded, in the order of [`maps`](Self::maps).
    #[track_caller]
    pub(super) fn parts(&self, projected: Tensor<3>) -> Parts {
        let width_of = |map: &Linear| map.weight.lazy_shape()[1];
        let widths: Vec<usize> = self.maps().into_iter().map(width_of).collect();
        let mixed: usize = widths[..3].iter().sum();
        let sizes: Vec<usize> = [mixed].iter().chain(&widths[3..]).copied().collect();
        let mut parts = cut_widths(projected, &sizes).into_iter();
        let mut next = || parts.next().expect("as many as there are maps");
        let mixed = next();
        let strength = self.b_proj.as_ref().map(|_| next());
        let by_head = self.a_proj.as_ref().map(|_| next());
        let by_channel = self.f_proj.as_ref().map(|map| map.rest(next()));
        Parts {
            mixed,
            strength,
            decay: by_head.or(by_channel),
            gate: self.g_proj.as_ref().map(|map| map.rest(next())),
        }
    }

    pub(super) fn convolutions(&self) -> Option<Vec<Tensor<3>>> {
        let all = [&self.q_conv1d, &self.k_conv1d, &self.v_conv1d];
        let weights = all.map(|convolution| convolution.as_ref().map(|own| own.weight.val()));
        weights.into_iter().collect()
    }

    /// The convolution with given weights, and SiLU of it: of queries and keys, if that is their feature map, and of values.
    pub(super) fn convolve(
        &self,
        steps: Tensor<3>,
        weights: Vec<Tensor<3>>,
        path: ExecutionPath,
    ) -> Tensor<3> {
        let [query, key, _] = self.options.mixed();
        let n_linear = match self.options.feature_map {
            FeatureMap::Silu => 0,
            _ => query + key,
        };
        convolve(steps, weights, n_linear, path)
    }

    /// [`convolve`](Self::convolve) over a batch, and what the next steps still see.
    pub(super) fn convolved(
        &self,
        mixed: Tensor<3>,
        before: Option<Tensor<3>>,
        path: ExecutionPath,
    ) -> (Tensor<3>, Option<Tensor<3>>) {
        let [_, seq_length, channels] = mixed.dims();
        let Some(weights) = self.convolutions() else {
            let ones = Tensor::ones([channels, 1, 1], (&mixed.device(), mixed.dtype()));
            return (self.convolve(mixed, vec![ones], path), None);
        };
        let Some(before) = before else {
            return (self.convolve(mixed, weights, path), None);
        };
        let steps = Tensor::cat(vec![before, mixed], 1);
        let recent = steps.clone().narrow(1, seq_length, self.options.n_before());
        (self.convolve(steps, weights, path), Some(recent))
    }

    /// What is written and read, from queries, keys and values after the [convolution](Self::convolve).
    pub(super) fn sequences(
        &self,
        mixed: Tensor<3>,
        strength: Option<Tensor<3>>,
        decay: Option<Tensor<3>>,
    ) -> Sequences {
        let options = &self.options;
        let (n_heads, d_key) = (options.n_heads, options.d_key);
        let [batch_size, seq_length, _] = mixed.dims();
        let n_writes = seq_length * options.writes;
        let mut mixed = cut(mixed, 2, &options.mixed()).into_iter();
        // The writes of a step lie one behind the other, the heads of each side by side.
        let mut heads = |rows: usize, width: usize| -> Tensor<4> {
            let part = mixed.next().expect("three of them");
            part.reshape([batch_size, rows, n_heads, width])
        };
        let normed = |tensor: Tensor<4>| {
            options.key_norm.apply(match options.feature_map {
                // It came with the convolution.
                FeatureMap::Silu => tensor,
                other => other.apply(tensor),
            })
        };
        let query = normed(heads(seq_length, d_key));
        let key = normed(heads(n_writes, d_key));
        let value = heads(n_writes, options.d_value);
        let largest = options.eigenvalues.largest();
        let shape = [batch_size, n_writes, n_heads];
        let write_strength = match strength {
            Some(strength) => sigmoid(widened(strength)).reshape(shape) * largest,
            None => Tensor::full(shape, largest, (&query.device(), query.dtype())),
        };
        let fading = decay.zip(self.a_log.as_ref().zip(self.dt_bias.as_ref()));
        let fading = fading.map(|(decay, (a_log, dt_bias))| {
            let decay = widened(decay);
            let n = decay.dims()[2] / n_heads;
            let decay = decay.reshape([batch_size, seq_length, n_heads, n]);
            log_decay(decay, a_log.val(), dt_bias.val())
        });
        Sequences {
            query,
            key,
            value,
            write_strength,
            log_decay: match (options.decay, fading) {
                (DecayKind::Head, Some(log)) => LogDecay::Head(log.squeeze_dim(3)),
                (DecayKind::Channel, Some(log)) => LogDecay::Channel(log),
                _ => LogDecay::None,
            },
        }
    }

    /// What the layer makes of what was read, `[batch_size, seq_length, n_heads, d_value]`.
    pub(super) fn outputs(
        &self,
        read: Tensor<4>,
        gate: Option<Tensor<3>>,
        dtype: DType,
    ) -> Tensor<3> {
        let [batch_size, seq_length, n_heads, d_value] = read.dims();
        let heads = match &self.o_norm {
            Some(norm) => norm.apply(read, self.options.epsilon),
            None => read,
        };
        let heads = heads.reshape([batch_size, seq_length, n_heads * d_value]);
        let heads = match gate {
            Some(gate) => heads * self.options.output_gate.apply(widened(gate)),
            None => heads,
        };
        project_linear(&self.o_proj, in_type(heads, dtype))
    }

    /// A sequence of samples, which must be there, from a state that fits.
    #[track_caller]
    pub(super) fn run(
        &self,
        projected: Tensor<3>,
        state: DeltaNetState,
        path: ExecutionPath,
    ) -> (Tensor<3>, DeltaNetState) {
        let dtype = projected.dtype();
        let parts = self.parts(projected);
        let (mixed, recent) = self.convolved(parts.mixed, state.recent, path);
        let sequences = self.sequences(mixed, parts.strength, parts.decay);
        let memory = Some(widened(state.memory));
        let (read, memory) = matrix_memory(sequences, memory, self.options.rule, path);
        let state = DeltaNetState {
            memory: in_type(memory, dtype),
            recent,
        };
        (self.outputs(read, parts.gate, dtype), state)
    }
}
