//! What a layer did at each step, for pictures.

use burn::tensor::Tensor;
use fw_core::{AssociativeLstm, Elman, FastWeights, Gru, Lstm, Ntm, Recurrent, Stack};

/// Numbers by row and step.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// What the numbers are.
    pub title: String,
    /// What a row is.
    pub rows: &'static str,
    /// `[rows][seq_length]`
    pub values: Vec<Vec<f32>>,
}

impl HeatMap {
    /// From `[seq_length, rows]`.
    pub fn new(title: impl Into<String>, rows: &'static str, steps: Tensor<2>) -> Self {
        let [_, n_rows] = steps.dims();
        let numbers: Vec<f32> = steps
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        let row = |row: usize| numbers.iter().skip(row).step_by(n_rows).copied().collect();
        HeatMap {
            title: title.into(),
            rows,
            values: (0..n_rows).map(row).collect(),
        }
    }
}

/// A recurrent layer that can tell what it did.
pub trait Layer: Recurrent {
    /// What each step of one sample did: `[1, seq_length, d_input]`. Nothing, for a layer without a memory to look at.
    fn heat_maps(&self, _input: Tensor<3>) -> Vec<HeatMap> {
        Vec::new()
    }
}

impl Layer for Elman {}
impl Layer for Lstm {}
impl Layer for Gru {}
impl Layer for AssociativeLstm {}
impl<R: Recurrent> Layer for Stack<R> {}

impl Layer for FastWeights {
    fn heat_maps(&self, input: Tensor<3>) -> Vec<HeatMap> {
        let attention = self.forward_traced(input, None).attention;
        let map = HeatMap::new(
            "attention to earlier steps",
            "step",
            attention.squeeze_dim(0),
        );
        vec![map]
    }
}

impl Layer for Ntm {
    fn heat_maps(&self, input: Tensor<3>) -> Vec<HeatMap> {
        let trace = self.forward_traced(input, None);
        let mut maps = Vec::new();
        let mut of_heads = |title: &str, rows, steps: Tensor<4>| {
            let [_, _, n_heads, _] = steps.dims();
            for head in 0..n_heads {
                let number = match n_heads {
                    1 => String::new(),
                    _ => format!(", head {}", head + 1),
                };
                let of_head = steps.clone().narrow(2, head, 1);
                let of_head = of_head.squeeze_dim::<3>(2).squeeze_dim(0);
                maps.push(HeatMap::new(format!("{title}{number}"), rows, of_head));
            }
        };
        of_heads("adds", "number", trace.adds);
        of_heads("write weightings", "location", trace.write_weights);
        of_heads("reads", "number", trace.reads);
        of_heads("read weightings", "location", trace.read_weights);
        maps
    }
}
