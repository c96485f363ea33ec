//! Options that several tests go through.

use fw_core::{Combination, SabConfig, SabOutput, Score, Sparsifier};

/// Every option of Sparse Attentive Backtracking that a kernel has to know.
pub fn sab_configs() -> Vec<SabConfig> {
    let base = SabConfig::new()
        .with_top_k(Some(3))
        .with_truncation_length(Some(4));
    let mut configs = vec![
        base.clone(),
        base.clone().with_top_k(None).with_truncation_length(None),
        base.clone().with_top_k(Some(0)),
        base.clone()
            .with_top_k(Some(1))
            .with_truncation_length(Some(1)),
        base.clone().with_attention_interval(3),
        base.clone().with_replay(false),
        base.clone().with_replay(false).with_attention_interval(2),
        base.clone().with_max_memories(Some(1)),
        base.clone().with_max_memories(Some(5)),
        base.clone().with_d_attention(Some(2)),
        base.clone().with_output(SabOutput::Hidden),
    ];
    for score in [Score::Mlp, Score::ScaledDot, Score::Released] {
        for sparsifier in [
            Sparsifier::Softmax,
            Sparsifier::Threshold,
            Sparsifier::Released,
        ] {
            for combination in [
                Combination::Average,
                Combination::Add,
                Combination::OutputOnly,
            ] {
                let config = base.clone().with_score(score).with_sparsifier(sparsifier);
                // As released, the state adds the same to every score: but with the rule that was released with it, its
                // gradient is 0, and what is computed of it is rounding. And raw scores let a sum grow without bound.
                let cancels = score == Score::Released && sparsifier != Sparsifier::Released;
                let grows = sparsifier == Sparsifier::Released && combination == Combination::Add;
                if !cancels && !grows {
                    configs.push(config.with_combination(combination));
                }
            }
        }
    }
    configs
}
