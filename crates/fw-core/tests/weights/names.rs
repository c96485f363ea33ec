//! Names and layouts are an interface: what they are, and what is said where they do not fit.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, LinearLayout};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use fw_core::weights::{Convention, Parameters, Portable, Weights, WeightsError};
use fw_core::{
    Answers, AnyLayer, AssociativeLstmConfig, AttentionConfig, BlocksConfig, ControllerKind,
    DeltaNetConfig, ElmanConfig, EncoderDecoderConfig, FastWeightsConfig, GatedConvolutionConfig,
    GruConfig, InitialWeights, LearnedStart, Lstm, LstmConfig, MLstmConfig, NormKind, NtmConfig,
    Reads, RecurrentDeltaNetConfig, Rwkv7Config, SLstmConfig, SabConfig, SourceAttention, Stack,
    Surroundings,
};

use super::{assert_computes, assert_round_trip, file, lstm, open};

/// What a layer's file holds, a line a tensor.
fn listed<P: Portable>(layer: &P, convention: Convention) -> String {
    let weights = layer.to_weights(convention).expect(P::NAME);
    let line = |name: &str| {
        format!(
            "    {name} {:?}\n",
            weights.shape(name).expect("it is there")
        )
    };
    weights.names().map(line).collect()
}

/// A change here is a change of every file that anyone has kept.
#[test]
fn names_and_shapes_stay_what_they_are() {
    let device = Device::flex();
    let mut all = String::new();
    fn tell<P: Portable>(
        all: &mut String,
        title: &str,
        layer: P,
        other: P,
        conventions: &[Convention],
    ) {
        for convention in conventions {
            all.push_str(&format!(
                "{title}, {convention:?}\n{}",
                listed(&layer, *convention)
            ));
            assert_round_trip(&layer, other.clone(), *convention);
        }
    }
    macro_rules! tell {
        ($title:literal, $init:expr, $($convention:expr),+) => {
            tell(&mut all, $title, $init, $init, &[$($convention),+])
        };
    }
    let own = Convention::Own;
    let (pytorch, cell) = (Convention::PyTorch, Convention::PyTorchCell);
    let keras = Convention::Keras { reset_after: true };
    let onnx = Convention::Onnx {
        linear_before_reset: true,
    };
    tell!(
        "Lstm",
        LstmConfig::new(3, 5).init(&device),
        own,
        pytorch,
        cell,
        keras,
        onnx
    );
    tell!(
        "Gru",
        GruConfig::new(3, 5).init(&device),
        own,
        pytorch,
        cell,
        keras,
        onnx
    );
    tell!(
        "Gru, normalised",
        GruConfig::new(3, 5).with_layer_norm(true).init(&device),
        own
    );
    tell!(
        "Elman",
        ElmanConfig::new(3, 5).init(&device),
        own,
        pytorch,
        cell,
        keras,
        onnx
    );
    tell!(
        "Elman, normalised",
        ElmanConfig::new(3, 5).with_layer_norm(true).init(&device),
        own
    );
    tell!(
        "AssociativeLstm",
        AssociativeLstmConfig::new(3, 4).init(&device),
        own
    );
    let stack = || {
        Stack::new(vec![
            LstmConfig::new(3, 5).init(&device),
            LstmConfig::new(5, 2).init(&device),
        ])
    };
    tell!("Stack of two", stack(), own, pytorch);
    tell!(
        "FastWeights",
        FastWeightsConfig::new(3, 5).init(&device),
        own
    );
    let gru = || GruConfig::new(3, 5).init(&device);
    tell!(
        "LearnedStart of a Gru",
        LearnedStart::new(gru(), &device),
        own
    );
    tell!("Sab over a Gru", SabConfig::new().init(gru(), &device), own);
    let machine = NtmConfig::new(3, 5).with_memory_size(8).with_word_size(4);
    let zero = machine.clone().with_initial_weights(InitialWeights::Zero);
    tell!("Ntm", zero.init(&device), own, pytorch);
    let dense = machine.with_controller(ControllerKind::FeedForward);
    tell!("Ntm, feed-forward", dense.init(&device), own);
    tell!(
        "DeltaNet",
        DeltaNetConfig::new(6, 2, 3).init(&device),
        own,
        pytorch
    );
    tell!(
        "DeltaNet, gated",
        DeltaNetConfig::gated(6, 2, 3).init(&device),
        own,
        pytorch
    );
    tell!(
        "DeltaNet, kimi",
        DeltaNetConfig::kimi(6, 2, 3).init(&device),
        own,
        pytorch
    );

    let config = EncoderDecoderConfig::new(4);
    let both = |attention| {
        let config = config.clone().with_attention(attention);
        config.init(gru(), gru(), &device)
    };
    tell!(
        "EncoderDecoder of Grus, attention",
        both(SourceAttention::Softmax),
        own,
        pytorch
    );
    tell!(
        "EncoderDecoder of Grus, fast weights",
        both(SourceAttention::FastWeights),
        own,
        pytorch
    );

    let attention = || AttentionConfig::new(4, 2, 3).init(&device);
    tell!("Attention", attention(), own, pytorch);
    let delta = || RecurrentDeltaNetConfig::new(4, 2, 3).init(&device);
    tell!("RecurrentDeltaNet", delta(), own, pytorch);
    let slstm = || SLstmConfig::new(3, 4).with_n_heads(2).init(&device);
    tell!("SLstm", slstm(), own);
    let mlstm = || MLstmConfig::new(4, 2, 3).init(&device);
    tell!("MLstm", mlstm(), own, pytorch);
    let rwkv7 = || {
        let config = Rwkv7Config::new(4, 2, 3)
            .with_decay_rank(Some(2))
            .with_rate_rank(Some(2));
        config.with_gate_rank(Some(2)).init(&device)
    };
    tell!("Rwkv7", rwkv7(), own, pytorch);
    let convolution = || GatedConvolutionConfig::new(4).init(&device);
    tell!("GatedConvolution", convolution(), own, pytorch);
    let layers = || {
        vec![
            AnyLayer::portable(convolution()),
            AnyLayer::portable(LstmConfig::new(4, 5).init(&device)),
        ]
    };
    let blocks = || BlocksConfig::new(3, 4).init(layers(), &device);
    tell!(
        "Blocks of a GatedConvolution and an Lstm",
        blocks(),
        own,
        pytorch
    );
    let config = BlocksConfig::new(4, 4)
        .with_norm(NormKind::Rms)
        .with_d_mlp(Some(6));
    let blocks = || config.init(vec![attention()], &device);
    tell!(
        "Blocks of an Attention, with a perceptron",
        blocks(),
        own,
        pytorch
    );

    let around = Surroundings {
        reads: Reads::Tokens {
            n_tokens: 7,
            d_embedding: 3,
            relu: true,
            embedding_std: 1.0,
        },
        d_head: 6,
        d_output: 2,
        answers: Answers::LastStep,
    };
    let model = || around.init(GruConfig::new(3, 5).init(&device), &device);
    tell!("SequenceModel of a Gru", model(), own, pytorch);

    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights/names.txt");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != all && std::env::var_os("FW_WRITE_NAMES").is_some() {
        std::fs::write(&path, &all).expect("it can be written");
        return;
    }
    assert_eq!(kept, all, "FW_WRITE_NAMES=1 writes {}", path.display());
}

/// A layer that has no names under a convention says so.
#[test]
fn what_has_no_names_elsewhere_says_so() {
    let fast = FastWeightsConfig::new(3, 5).init(&Device::flex());
    let error = fast
        .to_weights(Convention::PyTorch)
        .expect_err("there are none");
    assert_eq!(
        error.to_string(),
        "FastWeights has no names under PyTorch, only its own"
    );
    let normalised = GruConfig::new(3, 5)
        .with_layer_norm(true)
        .init(&Device::flex());
    let error = normalised
        .to_weights(Convention::PyTorch)
        .expect_err("theirs has none");
    assert_eq!(
        error.to_string(),
        "Gru is layer-normalised, which theirs is not; Convention::Own has its names"
    );
}

/// Every difference is told, in one error, and the layer stays as it was.
#[test]
fn every_difference_is_named_and_nothing_is_changed() {
    let device = Device::flex();
    let given = |shape: Vec<usize>, dtype| TensorData::full_dtype(shape, 1.0, dtype);
    let weights = Weights::from_tensors([
        ("rnn.weight_ih_l0", given(vec![20, 3], DType::F32)),
        ("weight_hh_l0", given(vec![5, 20], DType::F32)),
        ("bias_ih_l0", given(vec![20], DType::I64)),
        ("bias_hh_l0", given(vec![20], DType::F32)),
        ("decoder.weight", given(vec![1], DType::F32)),
    ]);
    let mut layer = lstm();
    let before = layer
        .to_weights(Convention::Own)
        .and_then(|weights| weights.to_bytes());
    let error = layer
        .load(&weights, Convention::PyTorch)
        .expect_err("nothing fits");
    assert_eq!(
        error.to_string(),
        "what is given does not fit Lstm:\
         \n  weight_ih_l0 [20, 3] is missing (there is rnn.weight_ih_l0)\
         \n  weight_hh_l0 is [5, 20]; it must be [20, 5]\
         \n  bias_ih_l0 is of type I64; it must be one of floating-point numbers\
         \n  decoder.weight [1] is left over\
         \n  rnn.weight_ih_l0 [20, 3] is left over"
    );
    let after = layer
        .to_weights(Convention::Own)
        .and_then(|weights| weights.to_bytes());
    assert_eq!(
        before.expect("it can be written"),
        after.expect("it can be written")
    );

    // The other way round: whole numbers that are none.
    let associative = AssociativeLstmConfig::new(1, 2).init(&device);
    let own = associative
        .to_weights(Convention::Own)
        .expect("its own names");
    let tensors = own.names().map(|name| {
        let data = own
            .numbers(name)
            .expect("it is whole")
            .expect("it is there");
        let dtype = if name == "permutations" {
            DType::F32
        } else {
            data.dtype()
        };
        (name.to_owned(), data.convert_dtype(dtype))
    });
    let weights = Weights::from_tensors(tensors.collect::<Vec<_>>());
    let error = associative
        .clone()
        .load(&weights, Convention::Own)
        .expect_err("a wrong type");
    assert!(
        error
            .to_string()
            .ends_with("permutations is of type F32; it must be one of whole numbers"),
        "{error}"
    );
    let permutations: Tensor<1, Int> = associative.permutations.val();
    assert_eq!(permutations.dims()[0], 16);
}

/// Names and files that are not there.
#[test]
fn what_is_not_there_is_named() {
    let error = open("lstm_checkpoint.pt")
        .within("state_dict")
        .expect_err("no such key");
    let expected = format!(
        "{} has nothing within state_dict; it has model_state_dict, optimizer_state_dict",
        file("lstm_checkpoint.pt").display()
    );
    assert_eq!(error.to_string(), expected);
    let error = Weights::open(file("none.pt")).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        format!("cannot read {}", file("none.pt").display())
    );

    // A projection after the state is not what an Lstm has.
    let error = lstm()
        .load(&open("lstm_proj.pt"), Convention::PyTorch)
        .expect_err("a projection");
    let error = error.to_string();
    assert!(
        error.contains("weight_hh_l0 is [20, 2]; it must be [20, 5]"),
        "{error}"
    );
    assert!(
        error.contains("weight_hr_l0 [2, 5] is left over"),
        "{error}"
    );
}

/// Two gates exchanged: what PyTorch computes is then another thing, which the tests of values must see.
#[test]
#[should_panic(expected = "is not")]
fn exchanged_gates_are_seen() {
    let weights = open("lstm.pt");
    let exchanged = weights.names().map(|name| {
        let data = weights
            .numbers(name)
            .expect("it is whole")
            .expect("it is there");
        if name.starts_with("bias") {
            return (name.to_owned(), data);
        }
        let rows = Tensor::<2>::from_data(data, &Device::flex());
        let blocks = [1, 0, 2, 3].map(|block| rows.clone().narrow(0, block * 5, 5));
        (name.to_owned(), Tensor::cat(blocks.to_vec(), 0).to_data())
    });
    let exchanged = Weights::from_tensors(exchanged.collect::<Vec<_>>());
    let mut layer = lstm();
    layer
        .load(&exchanged, Convention::PyTorch)
        .expect("the shapes are right");
    assert_computes(&layer, "lstm");
}

#[test]
fn two_tensors_are_never_called_the_same() {
    let number = TensorData::from([1.0f32]);
    let weights = Weights::from_tensors([("a.w", number.clone()), ("b.w", number.clone())]);
    let renamed = weights
        .clone()
        .renamed(|name| name.replace('a', "c"))
        .expect("two names");
    assert_eq!(renamed.names().collect::<Vec<_>>(), ["b.w", "c.w"]);
    let error = weights.renamed(|_| "w".to_owned()).expect_err("one name");
    assert_eq!(
        error.to_string(),
        "what is given would have a.w and b.w under the same name, w"
    );
    let twice = std::panic::catch_unwind(|| {
        let number = TensorData::from([1.0f32]);
        Weights::from_tensors([("w", number.clone()), ("w", number)])
    });
    assert!(twice.is_err());
}

/// A tensor that two parameters share needs one type; what is added up has the wider of two.
#[test]
fn parameters_of_several_types() {
    let device = Device::flex();
    let mut gru = GruConfig::new(3, 5).init(&device);
    let weights = open("gru.pt");
    let mixed = weights.names().map(|name| {
        let data = weights
            .numbers(name)
            .expect("it is whole")
            .expect("it is there");
        let dtype = if name == "bias_hh_l0" {
            DType::F16
        } else {
            DType::F32
        };
        (name.to_owned(), data.convert_dtype(dtype))
    });
    let mixed = Weights::from_tensors(mixed.collect::<Vec<_>>()).keeping_types();
    gru.load(&mixed, Convention::PyTorch)
        .expect("each has its own");
    assert_eq!(
        gru.hidden.bias.as_ref().map(|bias| bias.val().dtype()),
        Some(DType::F16)
    );
    let error = gru
        .to_weights(Convention::Keras { reset_after: true })
        .expect_err("one tensor");
    assert_eq!(
        error.to_string(),
        "Gru has a parameter hidden.bias that is of type F16, and what lies in the same tensor of type F32; they must be the same"
    );

    let weights = open("lstm.pt");
    let mixed = weights.names().map(|name| {
        let data = weights
            .numbers(name)
            .expect("it is whole")
            .expect("it is there");
        let dtype = if name == "bias_ih_l0" {
            DType::F16
        } else {
            DType::F64
        };
        (name.to_owned(), data.convert_dtype(dtype))
    });
    let mixed = Weights::from_tensors(mixed.collect::<Vec<_>>()).keeping_types();
    let mut layer = lstm();
    layer
        .load(&mixed, Convention::PyTorch)
        .expect("their sum has the wider type");
    assert_eq!(
        layer.input.bias.as_ref().map(|bias| bias.val().dtype()),
        Some(DType::F64)
    );
}

/// A layer whose list of names forgets a parameter, or makes one up, is found out.
#[test]
fn a_list_of_names_has_to_be_whole() {
    #[derive(Module, Debug)]
    struct Forgetful {
        rnn: Lstm,
        out: Linear,
    }
    impl Portable for Forgetful {
        const NAME: &'static str = "Forgetful";

        fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
            Parameters::default().part("rnn", &self.rnn, convention)
        }
    }
    #[derive(Module, Debug)]
    struct Wrapped {
        rnn: Lstm,
    }
    impl Portable for Wrapped {
        const NAME: &'static str = "Wrapped";

        fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
            self.rnn.parameters(convention)
        }
    }
    let forgetful = Forgetful {
        rnn: lstm(),
        out: LinearConfig::new(5, 2).init(&Device::flex()),
    };
    let error = forgetful
        .to_weights(Convention::PyTorch)
        .expect_err("a forgotten map");
    assert_eq!(
        error.to_string(),
        "Forgetful has parameters that have no name there: out.bias, out.weight"
    );
    let wrapped = Wrapped { rnn: lstm() };
    let error = wrapped
        .clone()
        .load(&open("lstm.pt"), Convention::PyTorch)
        .expect_err("other names");
    assert!(
        error
            .to_string()
            .starts_with("Wrapped has parameters that have no name there: "),
        "{error}"
    );
}

/// What learns goes on to learn, and what is fixed stays fixed.
#[test]
fn loading_changes_nothing_about_what_learns() {
    let device = Device::flex().autodiff();
    let mut layer = LstmConfig::new(3, 5).init(&device);
    let _ = layer
        .to_weights(Convention::Own)
        .expect("its parameters are drawn");
    layer.w_hidden = layer.w_hidden.no_grad();
    layer
        .load(&open("lstm.pt"), Convention::PyTorch)
        .expect("it fits");
    assert!(layer.input.weight.val().is_require_grad());
    assert!(!layer.w_hidden.val().is_require_grad());
    assert_computes(&layer.valid(), "lstm");
}

/// Burn turns the matrix of such a map when it saves it.
#[test]
fn linear_maps_in_columns() {
    let device = Device::flex();
    let config = LinearConfig::new(4, 4).with_layout(LinearLayout::Col);
    let saved = config.init(&device);
    let input = Tensor::<2>::from_data([[1.0, 2.0, 3.0, 4.0]], &device);
    let expected = saved.forward(input.clone()).into_data();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("linear.bpk");
    saved.clone().save_file(&path).expect("it can be saved");
    let own = saved.to_weights(Convention::Own).expect("its own names");
    let theirs = saved
        .to_weights(Convention::PyTorch)
        .expect("PyTorch's names");
    let turned = theirs
        .numbers("weight")
        .expect("it is whole")
        .expect("it is there");
    let turned = Tensor::<2>::from_data(turned, &device)
        .transpose()
        .into_data();
    assert_eq!(Some(turned), own.numbers("weight").expect("it is whole"));
    let of_burn = Weights::open(&path).expect("burnpack");
    // A file of Burn's is for the layout that it was saved in; those of a convention are for both.
    for (weights, convention, layout) in [
        (&of_burn, Convention::Own, LinearLayout::Col),
        (&own, Convention::Own, LinearLayout::Col),
        (&own, Convention::Own, LinearLayout::Row),
        (&theirs, Convention::PyTorch, LinearLayout::Col),
        (&theirs, Convention::PyTorch, LinearLayout::Row),
    ] {
        let mut read = config.clone().with_layout(layout).init(&device);
        read.load(weights, convention).expect("the same shape");
        let output = read.forward(input.clone()).into_data();
        assert_eq!(output, expected, "{convention:?}");
    }
}
