//! Turing machines as loudinthecloud/pytorch-ntm has them.

use super::WeightsError;
use super::portable::{Convention, Parameters, Portable, unsupported};
use super::stored::Stored;
use crate::{Ntm, NtmController};

/// Under [`Convention::PyTorch`] the names of loudinthecloud/pytorch-ntm, as its `EncapsulatedNTM` saves them, without the output's `ntm.fc`: leave that out by
/// [`without`](super::Weights::without), or take it alone by [`within`](super::Weights::within) into a [`Linear`](burn::nn::Linear).
///
/// What that machine is: one read head and one write head, three shifts, an LSTM as the controller, and weightings that start from 0.
impl Portable for Ntm {
    const NAME: &'static str = "Ntm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        let refused = |problem: String| WeightsError::Unsupported {
            layer: Self::NAME,
            problem,
        };
        if convention != Convention::PyTorch {
            return Err(unsupported::<Self>(convention));
        }
        let NtmController::Lstm(lstm) = &self.controller else {
            return Err(refused(
                "has a feed-forward controller, for which pytorch-ntm has no names".to_owned(),
            ));
        };
        let is_like_theirs = self.n_read_heads() == 1
            && self.n_write_heads() == 1
            && self.shift_width == 3
            && !self.learns_weights;
        if !is_like_theirs {
            return Err(refused(format!(
                "has {} read heads, {} write heads, {} shifts and {} first weightings; under the names of pytorch-ntm it must have one, one, three, \
                 and fixed ones (InitialWeights::Zero)",
                self.n_read_heads(),
                self.n_write_heads(),
                self.shift_width,
                if self.learns_weights {
                    "learned"
                } else {
                    "fixed"
                },
            )));
        }

        let [n_layers, d_controller] = lstm.initial_hidden.lazy_shape().dims();
        let [memory_size, word_size] = self.initial_memory.lazy_shape().dims();
        let mut all = Parameters::default();
        for (index, layer) in lstm.layers.iter().enumerate() {
            let of_layer = layer.numbered(&format!("_l{index}"))?;
            let of_layer = of_layer.expect("PyTorch numbers the layers of an LSTM");
            let of_layer = of_layer.named(|name| format!("ntm.controller.lstm.{name}"));
            all = all.below(&format!("controller.layers.{index}"), of_layer);
        }
        let start = |name: &str| {
            let start = Stored::tensor(
                format!("ntm.controller.{name}"),
                [n_layers, 1, d_controller],
            );
            start.reshaped([n_layers, d_controller])
        };
        // Theirs are key, β, g, s, γ; ours key, β, γ, g, s. What follows is the same.
        let (m, n_addressing) = (word_size, word_size + 6);
        let head = |name: &str, n_more: usize| {
            let mut runs = vec![(0, m + 1), (m + 5, 1), (m + 1, 1), (m + 2, 3)];
            runs.push((n_addressing, n_more));
            let rows = n_addressing + n_more;
            let weight = Stored::tensor(format!("ntm.heads.{name}.weight"), [rows, d_controller]);
            let bias = Stored::tensor(format!("ntm.heads.{name}.bias"), [rows]);
            (weight.rows(runs.clone()).transposed(), bias.rows(runs))
        };
        let (read_weight, read_bias) = head("0.fc_read", 0);
        let (write_weight, write_bias) = head("1.fc_write", 2 * word_size);
        let memory = [
            "memory",
            "ntm.memory",
            "ntm.heads.0.memory",
            "ntm.heads.1.memory",
        ];
        Ok(all
            .and("controller.initial_hidden", start("lstm_h_bias"))
            .and("controller.initial_cell", start("lstm_c_bias"))
            .and("read_head.linear.weight", read_weight)
            .and("read_head.linear.bias", read_bias)
            .and("write_head.linear.weight", write_weight)
            .and("write_head.linear.bias", write_bias)
            .and(
                "initial_memory",
                Stored::Tensor {
                    names: memory.map(|name| format!("{name}.mem_bias")).to_vec(),
                    shape: vec![memory_size, word_size],
                },
            )
            .and("initial_weights", Stored::Zeros(vec![2, memory_size]))
            .and(
                "initial_reads",
                Stored::tensor("ntm.read0_bias", [1, word_size]),
            ))
    }
}
