//! Sparse attention to memories, as a layer of its own.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Tensor};

use crate::ConfigError;
use crate::error::{expect_valid, require_size};
use crate::initializer::uniform;
use crate::ops::sab::{self, Attended, Score, Scoring, Sparsifier};

/// Configuration of [`SparseAttention`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SparseAttentionConfig {
    /// Width of the state that looks for memories, at least 1.
    pub d_query: usize,
    /// Width of a memory, at least 1.
    pub d_memory: usize,
    /// Width in which state and memory are compared, at least 1; not used by [`Score::Released`]. Default `None`: d_memory.
    #[config(default = "None")]
    pub d_attention: Option<usize>,
    /// k, how many memories take part, at least 1, or all of them (`None`). Default 10.
    #[config(default = "Some(10)")]
    pub top_k: Option<usize>,
    /// How memories are scored. Default [`Score::Mlp`], the paper.
    #[config(default = "Score::Mlp")]
    pub score: Score,
    /// How scores become weights. Default [`Sparsifier::Softmax`].
    #[config(default = "Sparsifier::Softmax")]
    pub sparsifier: Sparsifier,
}

/// Attention to the k memories that score best against a state.
///
/// ```text
/// a_i = vᵀ tanh(W_h q + W_m m_i)          or another [`Score`]
/// w   = softmax over the k best a         or another [`Sparsifier`]; all other weights are 0
/// s   = Σ_i w_i m_i
/// ```
///
/// where q is the state `[d_query]`, `m_i` are the memories `[d_memory]`, `W_h` is [`query`](Self::query), `W_m` is
/// [`key`](Self::key) and `v` is [`v`](Self::v). Gradients reach the selected memories and no others.
///
/// # Shapes
/// - state: `[batch_size, d_query]`
/// - memories: `[batch_size, n, d_memory]`, n at least 1
/// - summary: `[batch_size, d_memory]`; indices and weights: `[batch_size, n_selected]`
///
/// # Differences from the paper
///
/// Weights are a softmax over the selected scores by default; [`Sparsifier::Threshold`] is the paper's rule.
///
/// # Source
///
/// N. R. Ke et al., "Sparse Attentive Backtracking: Temporal Credit Assignment Through Reminding", NeurIPS 2018, section 3.1.
///
/// # Example
///
/// One of three memories, with weight 1: the one that the scaled dot product finds, W_h and W_m being the identity.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Score, SparseAttentionConfig};
///
/// let device = Device::flex();
/// let config = SparseAttentionConfig::new(2, 2).with_top_k(Some(1)).with_score(Score::ScaledDot);
/// let mut attention = config.init(&device);
/// attention.query = attention.query.map(|_| Tensor::eye(2, &device));
/// attention.key = attention.key.map(|_| Tensor::eye(2, &device));
///
/// let memories = Tensor::from_data([[[1.0, 0.0], [0.5, 0.9], [-1.0, 1.0]]], &device);
/// let attended = attention.forward(Tensor::from_data([[0.0, 1.0]], &device), memories, None);
/// assert_eq!(attended.indices.try_into_vec_as::<i64>().unwrap(), [2]);
/// assert_eq!(attended.summary.try_into_vec_as::<f32>().unwrap(), [-1.0, 1.0]);
/// ```
#[derive(Module, Debug)]
pub struct SparseAttention {
    /// W_h, `[d_query, d_attention]`.
    pub query: Param<Tensor<2>>,
    /// W_m, `[d_memory, d_attention]`.
    pub key: Param<Tensor<2>>,
    /// v, `[d_attention]`, of [`Score::Mlp`].
    pub v: Option<Param<Tensor<1>>>,
    top_k: Option<usize>,
    #[module(skip)]
    score: Score,
    #[module(skip)]
    sparsifier: Sparsifier,
}

impl SparseAttentionConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size or `top_k` of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_query", self.d_query)?;
        require_size("d_memory", self.d_memory)?;
        require_size("d_attention", self.d_attention.unwrap_or(1))?;
        require_size("top_k", self.top_k.unwrap_or(1))
    }

    /// The layer, with fresh parameters on `device`: W_h and W_m uniform in ±1/√(their rows), v in ±1/√d_attention.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> SparseAttention {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<SparseAttention, ConfigError> {
        self.validate()?;
        let d_attention = match self.score {
            Score::Released => 1,
            Score::Mlp | Score::ScaledDot => self.d_attention.unwrap_or(self.d_memory),
        };
        let weight = |rows| uniform(rows).init([rows, d_attention], device);
        Ok(SparseAttention {
            query: weight(self.d_query),
            key: weight(self.d_memory),
            v: (self.score == Score::Mlp).then(|| uniform(d_attention).init([d_attention], device)),
            top_k: self.top_k,
            score: self.score,
            sparsifier: self.sparsifier,
        })
    }
}

impl SparseAttention {
    /// Attends to the best memories. `mask`, `[batch_size, n]`, is true where a sample must not see a memory: it gets no
    /// weight.
    ///
    /// # Panics
    /// If there is no memory, or a shape does not fit.
    #[track_caller]
    pub fn forward(
        &self,
        state: Tensor<2>,
        memories: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Attended {
        let keys = self.keys(memories.clone());
        self.forward_with_keys(state, memories, keys, mask)
    }

    /// What scores need of the memories, `[batch_size, n, d_attention]`: computed once, however many states look at them.
    pub fn keys(&self, memories: Tensor<3>) -> Tensor<3> {
        self.scoring().keys(memories)
    }

    /// [`forward`](Self::forward) with the memories' [`keys`](Self::keys).
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[track_caller]
    pub fn forward_with_keys(
        &self,
        state: Tensor<2>,
        memories: Tensor<3>,
        keys: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Attended {
        let scoring = self.scoring();
        let query = scoring.query(state);
        sab::attend(
            &scoring,
            query,
            keys,
            memories,
            mask,
            self.top_k,
            self.sparsifier,
        )
    }

    /// The parameters, as the operations take them.
    pub(super) fn scoring(&self) -> Scoring {
        Scoring {
            score: self.score,
            query: self.query.val(),
            key: self.key.val(),
            v: self.v.as_ref().map(|v| v.val()),
        }
    }
}
