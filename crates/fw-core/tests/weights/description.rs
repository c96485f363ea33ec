//! Files that say what they are of: a layer, or a whole model.

use burn::tensor::{Device, Tensor};
use fw_core::weights::{Convention, Described, Portable, Weights};
use fw_core::{
    Answers, AssociativeLstmConfig, CellConfig, DeltaNetConfig, ElmanConfig, FastWeightsConfig,
    GruConfig, Inputs, LayerConfig, LstmConfig, NtmConfig, Reads, Recurrent, SabConfig,
    SequenceModelConfig, Surroundings,
};

/// That a layer with its configuration is the same layer again.
#[track_caller]
fn check<C: Described>(config: &C)
where
    C::Layer: Recurrent,
{
    let device = Device::flex();
    let layer = config.layer(&device).expect("it holds");
    let weights = Weights::of_layer(&layer, config).expect("it can be written");
    let file = weights.to_bytes().expect("it can be written");
    let read = Weights::from_bytes(file).and_then(|weights| weights.layer::<C>(&device));
    let read = read.unwrap_or_else(|error| panic!("{}: {error}", C::KIND));
    let input: Tensor<3> = Tensor::ones([2, 5, 3], &device);
    let expected = layer.forward(input.clone(), None).0.into_data();
    assert_eq!(read.forward(input, None).0.into_data(), expected);
}

#[test]
fn a_layer_with_its_configuration_is_the_layer_again() {
    check(&FastWeightsConfig::new(3, 4).with_inner_steps(2));
    check(&DeltaNetConfig::kimi(3, 2, 4));
    check(&ElmanConfig::new(3, 4).with_layer_norm(true));
    check(&LstmConfig::new(3, 4).with_bias(false));
    check(&GruConfig::new(3, 4).with_layer_norm(true));
    check(&AssociativeLstmConfig::new(3, 4).with_permutation_seed(7));
    check(&NtmConfig::new(3, 4).with_memory_size(6).with_word_size(5));
}

fn around() -> Surroundings {
    Surroundings {
        reads: Reads::Tokens {
            n_tokens: 7,
            d_embedding: 3,
            relu: true,
            embedding_std: 1.0,
        },
        d_head: 5,
        d_output: 2,
        answers: Answers::EveryStep,
    }
}

#[test]
fn a_model_is_made_of_its_file_under_its_own_names_and_pytorchs() {
    let device = Device::flex();
    let layer = LayerConfig::Lstm(vec![LstmConfig::new(3, 4), LstmConfig::new(4, 4)]);
    let config = SequenceModelConfig {
        layer,
        around: around(),
    };
    // A file of a model is written by whoever trains it: here what a fresh one has.
    let layers = [LstmConfig::new(3, 4), LstmConfig::new(4, 4)];
    let stack = fw_core::Stack::new(layers.map(|layer| layer.init(&device)).to_vec());
    let model = around().init(stack, &device);
    let tokens = Tensor::from_data([[0, 3, 6, 1], [5, 2, 4, 0]], &device);
    let (expected, _) = model.logits_from(Inputs::Tokens(tokens.clone()), None);

    let own = model.to_weights(Convention::Own).expect("its own names");
    let own = own.described_by(&config);
    let theirs = own
        .under(Convention::PyTorch, &device)
        .expect("PyTorch has LSTMs");
    assert!(theirs.names().any(|name| name == "layer.weight_hh_l1"));
    for weights in [&own, &theirs] {
        let file = weights.to_bytes().expect("it can be written");
        let read = Weights::from_bytes(file).expect("it can be read");
        let net = read.sequence_model(&device).expect("it says what it is");
        let logits = net.logits(Inputs::Tokens(tokens.clone()));
        assert_eq!(logits.into_data(), expected.clone().into_data());
        let again = read.under(Convention::Own, &device).expect("its own names");
        assert_eq!(
            again.to_bytes().expect("it can be written"),
            own.to_bytes().expect("so can it")
        );
    }
}

#[test]
fn what_a_file_does_not_say_is_an_error() {
    let device = Device::flex();
    let config = GruConfig::new(3, 4);
    let weights = Weights::of_layer(&config.init(&device), &config).expect("it can be written");
    let told = |error: fw_core::weights::WeightsError| error.to_string();
    let error = weights.layer::<LstmConfig>(&device).map(drop).map_err(told);
    assert_eq!(
        error,
        Err("what is given is of a gru, not of a lstm".to_owned())
    );
    let error = weights.sequence_model(&device).map(drop).map_err(told);
    assert_eq!(
        error,
        Err("what is given is of a gru, not of a sequence-model".to_owned())
    );
    let bare = config
        .init(&device)
        .to_weights(Convention::Own)
        .expect("it can be written");
    let error = bare.layer::<GruConfig>(&device).map(drop).map_err(told);
    assert_eq!(
        error,
        Err("what is given does not say what it is of".to_owned())
    );

    // Of a later version: what is not understood is told with that.
    let newer = weights.clone().with_metadata("version", "99.1.0");
    assert_eq!(newer.newer_version(), Some("99.1.0"));
    assert!(
        newer.layer::<GruConfig>(&device).is_ok(),
        "it is read as far as it is understood"
    );
    let other = newer.with_metadata("config", "{\"d_input\": 3, \"mood\": \"blue\"}");
    let error = other
        .layer::<GruConfig>(&device)
        .map(drop)
        .map_err(told)
        .expect_err("not understood");
    assert!(
        error.starts_with("what is given has a configuration that is not understood: "),
        "{error}"
    );
    assert!(
        error.contains("(it was written by fw-core 99.1.0, which is newer than this one, "),
        "{error}"
    );
    assert_eq!(weights.newer_version(), None);

    // A field that is not known would be left out without a word.
    let known = weights.metadata()["config"].clone();
    let more = known.replacen('{', "{\"mood\": \"blue\", ", 1);
    let other = weights.clone().with_metadata("config", more);
    let error = other.layer::<GruConfig>(&device).map(drop).map_err(told);
    assert_eq!(
        error,
        Err(
            "what is given has a configuration that is not understood: there is no field mood"
                .to_owned()
        )
    );

    // A layer that does not read what is before it, and sizes of nothing.
    for (layer, around, expected) in [
        (
            LayerConfig::Gru(GruConfig::new(4, 4)),
            around(),
            "d_input is 4, and what is before the layer is 3 wide; it must be the same",
        ),
        (
            LayerConfig::Lstm(Vec::new()),
            around(),
            "d_input is 0, and what is before the layer is 3 wide; it must be the same",
        ),
        (
            LayerConfig::Gru(GruConfig::new(3, 4)),
            Surroundings {
                d_output: 0,
                ..around()
            },
            "d_output is 0; it must be at least 1",
        ),
    ] {
        let config = SequenceModelConfig { layer, around };
        assert_eq!(
            config
                .init(&device)
                .map(drop)
                .map_err(|error| error.to_string()),
            Err(expected.to_owned())
        );
        let error = bare.clone().described_by(&config).sequence_model(&device);
        assert_eq!(error.map(drop).map_err(told), Err(expected.to_owned()));
    }

    // A configuration that breaks a rule names it.
    let sab = LayerConfig::Sab {
        sab: SabConfig::new().with_attention_interval(0),
        cell: CellConfig::Gru(config),
    };
    let broken = SequenceModelConfig {
        layer: sab,
        around: around(),
    };
    let error = bare
        .described_by(&broken)
        .sequence_model(&device)
        .map(drop)
        .map_err(told);
    assert_eq!(
        error,
        Err("attention_interval is 0; it must be at least 1".to_owned())
    );
}
