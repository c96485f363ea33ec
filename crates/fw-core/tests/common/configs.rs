//! Options that several tests go through.

use fw_core::{
    Combination, DecayKind, DeltaNetConfig, Eigenvalues, FeatureMap, KeyNorm, OutputGate,
    SabConfig, SabOutput, Score, Sparsifier, WriteRule, WriteStrength,
};

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

/// Every option of a DeltaNet, in odd sizes. The memories of all of them stay bounded.
pub fn delta_net_configs(d_input: usize) -> Vec<DeltaNetConfig> {
    let plain = DeltaNetConfig::new(d_input, 3, 5);
    let mut configs = vec![
        plain.clone(),
        DeltaNetConfig::gated(d_input, 3, 5),
        DeltaNetConfig::kimi(d_input, 3, 5),
        DeltaNetConfig::product(d_input, 3, 5),
        plain.clone().with_d_value(Some(1)).with_d_output(Some(1)),
        DeltaNetConfig::new(d_input, 1, 1),
        plain.clone().with_rule(WriteRule::Sum),
        plain
            .clone()
            .with_rule(WriteRule::Sum)
            .with_key_norm(KeyNorm::None)
            .with_decay(DecayKind::Head),
        plain.clone().with_convolution(None),
        plain.clone().with_convolution(Some(1)),
        plain.clone().with_convolution(Some(7)),
        plain.clone().with_write_strength(WriteStrength::One),
        plain.clone().with_eigenvalues(Eigenvalues::Signed),
        plain.clone().with_output_norm(false),
        plain.clone().with_output_gate(OutputGate::Sigmoid),
        plain.with_decay(DecayKind::Channel),
    ];
    for feature_map in [FeatureMap::Relu, FeatureMap::Elu, FeatureMap::Identity] {
        for key_norm in [KeyNorm::L2, KeyNorm::Sum] {
            let config = DeltaNetConfig::product(d_input, 2, 3).with_feature_map(feature_map);
            configs.push(config.with_key_norm(key_norm).with_d_value(Some(4)));
        }
    }
    configs
}
