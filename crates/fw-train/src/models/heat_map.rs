//! What a layer did at each step, for pictures.

use burn::tensor::Tensor;
use fw_core::{MatrixMemoryTrace, Recurrent, Stack};

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

/// Maps by rows of a figure. Pairs, since what is written stands beside what is read.
pub type MapPairs = Vec<[Option<HeatMap>; 2]>;

/// A recurrent layer that can tell what it did.
pub trait Layer: Recurrent<State: 'static> + 'static {
    /// What each step of one sample did, `[1, seq_length, d_input]`, from a state or else from the start; and the state after it.
    /// No maps, for a layer without a memory to look at.
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let (_, state) = self.forward(input, state);
        (Vec::new(), state)
    }
}

/// Layer by layer.
impl<R: Layer> Layer for Stack<R> {
    fn trace(&self, input: Tensor<3>, states: Option<Self::State>) -> (MapPairs, Self::State) {
        let (mut maps, mut last) = (Vec::new(), Vec::with_capacity(self.layers.len()));
        let mut given = states.into_iter().flatten();
        let mut signal = input;
        for (index, layer) in self.layers.iter().enumerate() {
            let state = given.next();
            let (mut of_layer, _) = layer.trace(signal.clone(), state.clone());
            if self.layers.len() > 1 {
                for map in of_layer.iter_mut().flatten().flatten() {
                    map.title = format!("{}, layer {}", map.title, index + 1);
                }
            }
            maps.extend(of_layer);
            let (output, state) = layer.forward(signal, state);
            signal = output;
            last.push(state);
        }
        (maps, last)
    }
}

/// What a row is, where each write that a layer has made is one: those of the first step come first.
pub(super) const WRITES: &str = "write";

/// A map for each head, from `[1, seq_length, n_heads, rows]`.
pub(super) fn of_heads(title: &str, rows: &'static str, steps: Tensor<4>) -> Vec<HeatMap> {
    let [_, _, n_heads, _] = steps.dims();
    (0..n_heads)
        .map(|head| {
            let title = match n_heads {
                1 => title.to_owned(),
                _ => format!("{title}, head {}", head + 1),
            };
            let of_head: Tensor<3> = steps.clone().narrow(2, head, 1).squeeze_dim(2);
            HeatMap::new(title, rows, of_head.squeeze_dim(0))
        })
        .collect()
}

/// How well each head's memory recalls each write, two heads side by side; then how strong the writes are, if `strength` is what a strength is here, and
/// what is left of the memory before them, if it fades.
pub(super) fn of_memories<S>(
    trace: &MatrixMemoryTrace<S>,
    strength: Option<&str>,
    fades: bool,
) -> MapPairs {
    let recall = trace.recall.clone().swap_dims(1, 2); // [1, T, H, writes]
    let mut recall = of_heads("how well each write is recalled", WRITES, recall).into_iter();
    let mut pairs = Vec::new();
    while let Some(map) = recall.next() {
        pairs.push([Some(map), recall.next()]);
    }
    let [_, seq_length, n_heads] = trace.decay.dims();
    let writes = trace.write_strength.dims()[1] / seq_length;
    let strength = strength.map(|what| {
        let title = match writes {
            1 => what.to_owned(),
            n => format!("strengths of {n} writes, the heads of one below those of the one before"),
        };
        let rows = trace.write_strength.clone();
        HeatMap::new(title, "head", rows.reshape([seq_length, writes * n_heads]))
    });
    let decay = fades.then(|| {
        let title = "share of the memory left before a write";
        HeatMap::new(title, "head", trace.decay.clone().squeeze_dim(0))
    });
    if strength.is_some() || decay.is_some() {
        pairs.push([strength, decay]);
    }
    pairs
}

/// The first of each, the second of each, and so on to the end of the longer.
pub(super) fn pairs(left: Vec<HeatMap>, right: Vec<HeatMap>) -> MapPairs {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let n_pairs = left.len().max(right.len());
    (0..n_pairs).map(|_| [left.next(), right.next()]).collect()
}
