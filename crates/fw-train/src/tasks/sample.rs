//! One sample, and many as tensors.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// What a task's samples are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sequence of tokens, and a class to answer with after the last one.
    Tokens {
        /// The number of different tokens.
        n_tokens: usize,
        /// The number of classes to choose from.
        n_classes: usize,
    },
    /// A sequence of vectors, and bits to answer with at some of the steps.
    Vectors {
        /// Width of an input vector.
        d_input: usize,
        /// Bits in an answer.
        d_output: usize,
    },
}

impl Format {
    /// The unit of the loss of a whole split.
    pub fn loss_unit(self) -> &'static str {
        match self {
            Format::Tokens { .. } => "nats",
            Format::Vectors { .. } => "bits per sequence",
        }
    }

    /// What a wrong answer is counted as.
    pub fn error_name(self) -> &'static str {
        match self {
            Format::Tokens { .. } => "error",
            Format::Vectors { .. } => "error per bit",
        }
    }
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// See [`Format::Tokens`].
    Tokens(TokenSample),
    /// See [`Format::Vectors`].
    Vectors(VectorSample),
}

/// Tokens and a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSample {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Class id.
    pub class: u32,
}

/// Vectors in, bits out.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// `[seq_length][d_input]`
    pub inputs: Vec<Vec<f32>>,
    /// `[seq_length]`: the bits to answer with, 0 or 1, or nothing where no answer is asked for.
    pub targets: Vec<Option<Vec<f32>>>,
}

impl VectorSample {
    pub(super) fn new() -> Self {
        VectorSample {
            inputs: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// A step that is only read.
    pub(super) fn read(&mut self, input: Vec<f32>) {
        self.inputs.push(input);
        self.targets.push(None);
    }

    /// A step that is answered.
    pub(super) fn answer(&mut self, input: Vec<f32>, target: Vec<f32>) {
        self.inputs.push(input);
        self.targets.push(Some(target));
    }

    /// Steps.
    pub fn seq_length(&self) -> usize {
        self.inputs.len()
    }
}

/// Samples as tensors.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the model reads.
    pub inputs: Inputs,
    /// What it should answer.
    pub targets: Targets,
}

/// What a model reads.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// `[batch_size, seq_length]`
    Tokens(Tensor<2, Int>),
    /// `[batch_size, seq_length, d_input]`, zeros behind the end of a shorter sequence
    Vectors(Tensor<3>),
}

/// What a model should answer.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "made once a batch, and moved twice"
)]
pub enum Targets {
    /// `[batch_size]`
    Classes(Tensor<1, Int>),
    /// Bits at some of the steps.
    Bits {
        /// `[batch_size, seq_length, d_output]`
        bits: Tensor<3>,
        /// 1 at steps that are to be answered, else 0: `[batch_size, seq_length, 1]`
        mask: Tensor<3>,
        /// The number of bits that are to be answered.
        n_bits: usize,
    },
}

impl Batch {
    /// Samples of one format as tensors.
    pub(crate) fn new(format: Format, samples: &[Sample], device: &Device) -> Self {
        match format {
            Format::Tokens { .. } => {
                let samples = samples.iter().map(Sample::tokens);
                Batch::of_tokens(&samples.collect::<Vec<_>>(), device)
            }
            Format::Vectors { d_input, d_output } => {
                let samples = samples.iter().map(Sample::vectors);
                Batch::of_vectors(&samples.collect::<Vec<_>>(), d_input, d_output, device)
            }
        }
    }

    fn of_tokens(samples: &[&TokenSample], device: &Device) -> Self {
        let seq_length = samples.first().map_or(0, |sample| sample.tokens.len());
        let tokens = samples.iter().flat_map(|sample| &sample.tokens);
        let tokens: Vec<i32> = tokens.map(|&token| token as i32).collect();
        let classes: Vec<i32> = samples.iter().map(|sample| sample.class as i32).collect();
        let size = samples.len();
        Batch {
            inputs: Inputs::Tokens(Tensor::from_data(
                TensorData::new(tokens, [size, seq_length]),
                device,
            )),
            targets: Targets::Classes(Tensor::from_data(TensorData::new(classes, [size]), device)),
        }
    }

    fn of_vectors(
        samples: &[&VectorSample],
        d_input: usize,
        d_output: usize,
        device: &Device,
    ) -> Self {
        let size = samples.len();
        let lengths = samples.iter().map(|sample| sample.seq_length());
        let seq_length = lengths.max().unwrap_or(0);
        let mut inputs = vec![0.0; size * seq_length * d_input];
        let mut bits = vec![0.0; size * seq_length * d_output];
        let mut mask = vec![0.0; size * seq_length];
        for (index, sample) in samples.iter().enumerate() {
            for (t, (input, target)) in sample.inputs.iter().zip(&sample.targets).enumerate() {
                let step = index * seq_length + t;
                inputs[step * d_input..][..d_input].copy_from_slice(input);
                if let Some(target) = target {
                    bits[step * d_output..][..d_output].copy_from_slice(target);
                    mask[step] = 1.0;
                }
            }
        }
        let n_bits = mask.iter().filter(|&&asked| asked > 0.0).count() * d_output;
        let tensor = |values: Vec<f32>, width| {
            Tensor::from_data(TensorData::new(values, [size, seq_length, width]), device)
        };
        Batch {
            inputs: Inputs::Vectors(tensor(inputs, d_input)),
            targets: Targets::Bits {
                bits: tensor(bits, d_output),
                mask: tensor(mask, 1),
                n_bits,
            },
        }
    }
}

impl Sample {
    /// A sample of a task whose [`Format`] is tokens.
    pub(crate) fn tokens(&self) -> &TokenSample {
        match self {
            Sample::Tokens(sample) => sample,
            Sample::Vectors(_) => unreachable!("a task of tokens has samples of tokens"),
        }
    }

    /// A sample of a task whose [`Format`] is vectors.
    pub(crate) fn vectors(&self) -> &VectorSample {
        match self {
            Sample::Vectors(sample) => sample,
            Sample::Tokens(_) => unreachable!("a task of vectors has samples of vectors"),
        }
    }
}

impl Inputs {
    pub(crate) fn tokens(self) -> Tensor<2, Int> {
        match self {
            Inputs::Tokens(tokens) => tokens,
            Inputs::Vectors(_) => unreachable!("a model of tokens is built for a task of tokens"),
        }
    }

    pub(crate) fn vectors(self) -> Tensor<3> {
        match self {
            Inputs::Vectors(vectors) => vectors,
            Inputs::Tokens(_) => unreachable!("a model of vectors is built for a task of vectors"),
        }
    }
}
