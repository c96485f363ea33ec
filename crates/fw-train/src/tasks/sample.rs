//! One sample, and many as tensors.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fw_core::Inputs;

use crate::tasks::Symbols;

/// What a task's samples are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What is read.
    pub input: InputFormat,
    /// What is answered.
    pub answer: AnswerFormat,
}

/// What a task's samples are to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// A sequence of tokens.
    Tokens {
        /// The number of different tokens.
        n_tokens: usize,
    },
    /// A sequence of vectors.
    Vectors {
        /// Width of a vector.
        d_input: usize,
    },
}

/// What a task asks for, and so how its loss and its errors are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    /// A class after the last step: cross entropy in nats, share of wrong answers.
    Class {
        /// The number of classes to choose from.
        n_classes: usize,
    },
    /// A class at some of the steps: cross entropy of an answer in nats, share of wrong ones among those that count.
    Classes {
        /// The number of classes to choose from.
        n_classes: usize,
    },
    /// A class for each step, all of them answered after the last one, from what a net then carries: counted as of [`Classes`](Self::Classes).
    Reconstruction {
        /// The number of classes to choose from.
        n_classes: usize,
        /// Steps of every sequence.
        n_steps: usize,
    },
    /// The next symbol of a text at every step: cross entropy in bits per symbol, share of wrong ones.
    Text {
        /// The number of symbols to choose from.
        n_symbols: usize,
        /// What a symbol is.
        symbols: Symbols,
    },
    /// Bits at some of the steps: cross entropy of a sequence in bits, share of wrong bits.
    Bits {
        /// Bits in an answer.
        d_output: usize,
    },
    /// A number after the last step: squared error, share of answers that are off by more than [`NUMBER_TOLERANCE`].
    Number,
}

/// An answered number that is off by more counts as an error: the number of Hochreiter and Schmidhuber (1997, section 5.4), whose own
/// targets are scaled.
pub const NUMBER_TOLERANCE: f64 = 0.04;

impl Format {
    /// The unit of the loss of a whole split.
    pub fn loss_unit(self) -> &'static str {
        match self.answer {
            AnswerFormat::Class { .. }
            | AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. } => "nats",
            AnswerFormat::Text { symbols, .. } => match symbols {
                Symbols::Characters => "bits per character",
                Symbols::Bytes => "bits per byte",
            },
            AnswerFormat::Bits { .. } => "bits per sequence",
            AnswerFormat::Number => "squared error",
        }
    }

    /// What a wrong answer is counted as.
    pub fn error_name(self) -> &'static str {
        match self.answer {
            AnswerFormat::Class { .. }
            | AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. } => "error",
            AnswerFormat::Text { symbols, .. } => match symbols {
                Symbols::Characters => "wrong characters",
                Symbols::Bytes => "wrong bytes",
            },
            AnswerFormat::Bits { .. } => "error per bit",
            AnswerFormat::Number => "off by more than 0.04",
        }
    }

    /// Whether an error, not the loss, tells which of two models is better.
    pub fn is_ranked_by_error(self) -> bool {
        matches!(
            self.answer,
            AnswerFormat::Class { .. }
                | AnswerFormat::Classes { .. }
                | AnswerFormat::Reconstruction { .. }
        )
    }

    /// Whether the only answer comes after the last step.
    pub fn is_answered_at_the_end(self) -> bool {
        matches!(
            self.answer,
            AnswerFormat::Class { .. } | AnswerFormat::Number
        )
    }

    /// Whether a sequence has several answers, and is perfect if all are right.
    pub fn has_perfect_sequences(self) -> bool {
        matches!(
            self.answer,
            AnswerFormat::Classes { .. }
                | AnswerFormat::Reconstruction { .. }
                | AnswerFormat::Bits { .. }
        )
    }

    /// Numbers that a model puts out for an answer.
    pub fn d_output(self) -> usize {
        match self.answer {
            AnswerFormat::Class { n_classes }
            | AnswerFormat::Classes { n_classes }
            | AnswerFormat::Reconstruction { n_classes, .. } => n_classes,
            AnswerFormat::Text { n_symbols, .. } => n_symbols,
            AnswerFormat::Bits { d_output } => d_output,
            AnswerFormat::Number => 1,
        }
    }
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What is read.
    pub input: Input,
    /// What should be answered.
    pub answer: Answer,
}

/// What a sample is to read.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Token ids.
    Tokens(Vec<u32>),
    /// `[seq_length][d_input]`
    Vectors(Vec<Vec<f32>>),
}

/// What a sample asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A class after the last step.
    Class(u32),
    /// `[seq_length]`: a class, or nothing where no answer is asked for; also of [`AnswerFormat::Text`] and [`AnswerFormat::Reconstruction`].
    Classes(Vec<Option<StepClass>>),
    /// `[seq_length]`: the bits to answer with, 0 or 1, or nothing where no answer is asked for.
    Bits(Vec<Option<Vec<f32>>>),
    /// A number after the last step.
    Number(f32),
}

/// The class to answer with at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepClass {
    /// Class id.
    pub class: u32,
    /// Whether a wrong answer counts as an error, or only costs loss.
    pub counts: bool,
}

/// What it is made of, for whoever knows the [format](Format) of its task.
///
/// # Panics
/// If it is made of something else: samples are of their task's format.
impl Sample {
    /// The tokens that are read.
    #[track_caller]
    pub fn tokens(&self) -> &[u32] {
        match &self.input {
            Input::Tokens(tokens) => tokens,
            Input::Vectors(_) => self.is_none_of("tokens"),
        }
    }

    /// The vectors that are read.
    #[track_caller]
    pub fn vectors(&self) -> &[Vec<f32>] {
        match &self.input {
            Input::Vectors(vectors) => vectors,
            Input::Tokens(_) => self.is_none_of("vectors"),
        }
    }

    /// The class to answer with.
    #[track_caller]
    pub fn class(&self) -> u32 {
        match self.answer {
            Answer::Class(class) => class,
            _ => self.is_none_of("a class"),
        }
    }

    /// The class to answer with at each step that asks for one.
    #[track_caller]
    pub fn classes(&self) -> &[Option<StepClass>] {
        match &self.answer {
            Answer::Classes(classes) => classes,
            _ => self.is_none_of("a class at each step"),
        }
    }

    /// The bits to answer with at each step that asks for some.
    #[track_caller]
    pub fn bits(&self) -> &[Option<Vec<f32>>] {
        match &self.answer {
            Answer::Bits(bits) => bits,
            _ => self.is_none_of("bits"),
        }
    }

    /// The number to answer with.
    #[track_caller]
    pub fn number(&self) -> f32 {
        match self.answer {
            Answer::Number(number) => number,
            _ => self.is_none_of("a number"),
        }
    }

    #[track_caller]
    fn is_none_of(&self, asked: &str) -> ! {
        panic!("{self:?} is no sample of {asked}; samples are of their task's format")
    }
}

impl Input {
    /// Steps.
    pub fn seq_length(&self) -> usize {
        match self {
            Input::Tokens(tokens) => tokens.len(),
            Input::Vectors(vectors) => vectors.len(),
        }
    }
}

/// A sample of a task of vectors and bits, while it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// `[seq_length][d_input]`
    pub inputs: Vec<Vec<f32>>,
    /// As of [`Answer::Bits`].
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
    #[cfg(test)]
    pub(super) fn seq_length(&self) -> usize {
        self.inputs.len()
    }
}

impl From<VectorSample> for Sample {
    fn from(sample: VectorSample) -> Self {
        Sample {
            input: Input::Vectors(sample.inputs),
            answer: Answer::Bits(sample.targets),
        }
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

/// What a model should answer. `steps` is the sequence's length, or 1 where the only answer comes after the last step.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "made once a batch, and moved twice"
)]
pub enum Targets {
    /// Classes.
    Classes {
        /// `[batch_size, steps]`
        classes: Tensor<2, Int>,
        /// 1 at steps that are to be answered, else 0: `[batch_size, steps]`
        mask: Tensor<2>,
        /// 1 where a wrong answer counts as an error, else 0: `[batch_size, steps]`
        counts: Tensor<2>,
        /// The number of answers, and of those that count.
        n_answers: [usize; 2],
    },
    /// Bits at some of the steps.
    Bits {
        /// `[batch_size, seq_length, d_output]`
        bits: Tensor<3>,
        /// 1 at steps that are to be answered, else 0: `[batch_size, seq_length, 1]`
        mask: Tensor<3>,
        /// The number of bits that are to be answered.
        n_bits: usize,
    },
    /// `[batch_size]`
    Numbers(Tensor<1>),
}

impl Batch {
    /// Samples of one format as tensors.
    pub(crate) fn new(format: Format, samples: &[Sample], device: &Device) -> Self {
        let lengths = samples.iter().map(|sample| sample.input.seq_length());
        let seq_length = lengths.max().unwrap_or(0);
        let size = samples.len();
        let inputs = match format.input {
            InputFormat::Tokens { .. } => {
                let mut ids = vec![0; size * seq_length];
                for (row, sample) in samples.iter().enumerate() {
                    for (id, &token) in ids[row * seq_length..].iter_mut().zip(sample.tokens()) {
                        *id = token as i32;
                    }
                }
                let ids = TensorData::new(ids, [size, seq_length]);
                Inputs::Tokens(Tensor::from_data(ids, device))
            }
            InputFormat::Vectors { d_input } => {
                let mut numbers = vec![0.0; size * seq_length * d_input];
                for (row, sample) in samples.iter().enumerate() {
                    for (t, vector) in sample.vectors().iter().enumerate() {
                        let at = (row * seq_length + t) * d_input;
                        numbers[at..][..d_input].copy_from_slice(vector);
                    }
                }
                Inputs::Vectors(tensor(numbers, [size, seq_length, d_input], device))
            }
        };
        let targets = match format.answer {
            AnswerFormat::Class { .. } => {
                let classes = samples.iter().map(|sample| {
                    vec![Some(StepClass {
                        class: sample.class(),
                        counts: true,
                    })]
                });
                class_targets(classes, [size, 1], device)
            }
            AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. }
            | AnswerFormat::Text { .. } => {
                let classes = samples.iter().map(|sample| sample.classes().to_vec());
                class_targets(classes, [size, seq_length], device)
            }
            AnswerFormat::Bits { d_output } => {
                bit_targets(samples, [size, seq_length, d_output], device)
            }
            AnswerFormat::Number => {
                let numbers = samples.iter().map(Sample::number).collect();
                Targets::Numbers(tensor(numbers, [size], device))
            }
        };
        Batch { inputs, targets }
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn class_targets(
    samples: impl Iterator<Item = Vec<Option<StepClass>>>,
    shape: [usize; 2],
    device: &Device,
) -> Targets {
    let numbers = shape[0] * shape[1];
    let (mut classes, mut mask, mut counts) =
        (vec![0_i32; numbers], vec![0.0; numbers], vec![0.0; numbers]);
    let mut n_answers = [0; 2];
    for (sample, steps) in samples.enumerate() {
        for (t, step) in steps.into_iter().enumerate() {
            let Some(step) = step else { continue };
            let at = sample * shape[1] + t;
            classes[at] = step.class as i32;
            mask[at] = 1.0;
            counts[at] = f32::from(u8::from(step.counts));
            n_answers[0] += 1;
            n_answers[1] += usize::from(step.counts);
        }
    }
    Targets::Classes {
        classes: Tensor::from_data(TensorData::new(classes, shape), device),
        mask: tensor(mask, shape, device),
        counts: tensor(counts, shape, device),
        n_answers,
    }
}

fn bit_targets(
    samples: &[Sample],
    [size, seq_length, d_output]: [usize; 3],
    device: &Device,
) -> Targets {
    let mut bits = vec![0.0; size * seq_length * d_output];
    let mut mask = vec![0.0; size * seq_length];
    for (row, sample) in samples.iter().enumerate() {
        for (t, target) in sample.bits().iter().enumerate() {
            let step = row * seq_length + t;
            if let Some(target) = target {
                bits[step * d_output..][..d_output].copy_from_slice(target);
                mask[step] = 1.0;
            }
        }
    }
    let n_bits = mask.iter().filter(|&&asked| asked > 0.0).count() * d_output;
    Targets::Bits {
        bits: tensor(bits, [size, seq_length, d_output], device),
        mask: tensor(mask, [size, seq_length, 1], device),
        n_bits,
    }
}
