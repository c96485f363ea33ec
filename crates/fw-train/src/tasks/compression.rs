//! Compression: a sequence from what is left of it at its end.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, below, validate_vocabulary};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass};

/// Compression (Poli et al. 2024: MAD): read random tokens and an end, then say all of them from what the net yields at the end alone.
///
/// ```text
/// input   2 0 1 1 2 >        6 steps, tokens 0 to 2, the end 3
/// target  2 0 1 1 2 >        all answered after the last step
/// ```
///
/// Tokens are drawn alike. A perceptron, of which the place that is asked for is an input, turns the net's last output into every token
/// ([`Answers::FromLastStep`](fw_core::Answers::FromLastStep)). The end is always right; guessing errs on all but `1 / (vocabulary - 1)` of the others.
///
/// MAD's baseline is the default; it varies vocabulary (32, 64, 128), length (64, 128, 256) and `training_samples` (12,800 down to 800).
///
/// # Differences from the public code
///
/// There (athms/mad-lab at 0f49a45) the perceptron has two layers of 128 with a norm before each and GELU; here one of `d_head` with a ReLU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compression {
    /// Tokens, the end among them: 3 to 65,536. Default 16.
    pub vocabulary: usize,
    /// Steps of a sequence, the end among them: 2 to 100,000. Default 32.
    pub length: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Compression {
            vocabulary: 16,
            length: 32,
        }
    }
}

impl Generator for Compression {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        validate_vocabulary(self.vocabulary, 3)?;
        let n = self.length;
        let in_range = (2..=100_000).contains(&n);
        require(in_range, "task.length", n, "lie between 2 and 100,000")
    }

    fn format(&self) -> Format {
        let n = self.vocabulary;
        Format {
            input: InputFormat::Tokens { n_tokens: n },
            answer: AnswerFormat::Reconstruction {
                n_classes: n,
                n_steps: self.length,
            },
        }
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let end = self.vocabulary as u32 - 1;
        let mut tokens: Vec<u32> = (1..self.length).map(|_| below(rng, end)).collect();
        tokens.push(end);
        let answers = tokens.iter().map(|&class| {
            Some(StepClass {
                class,
                counts: true,
            })
        });
        Sample {
            answer: Answer::Classes(answers.collect()),
            input: Input::Tokens(tokens),
        }
    }

    fn token_text(&self, token: u32) -> String {
        match token as usize == self.vocabulary - 1 {
            true => " >".to_owned(),
            false => format!(" {token}"),
        }
    }

    fn class_text(&self, class: u32) -> String {
        self.token_text(class)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::generated::tests::task;
    use super::*;
    use crate::Experiment;

    #[test]
    fn a_sample_is_tokens_drawn_alike_and_an_end_and_its_own_answer() {
        let task = task::<Compression>("vocabulary = 5\nlength = 9").expect("a task");
        let mut seen = [0; 5];
        for index in 0..500 {
            let sample = task.draw(Split::Train, index);
            let steps = sample.classes().iter().flatten();
            let classes: Vec<u32> = steps.map(|step| step.class).collect();
            assert_eq!(classes, sample.tokens());
            assert_eq!(classes.len(), 9);
            assert_eq!(classes[8], 4);
            classes[..8]
                .iter()
                .for_each(|token| seen[*token as usize] += 1);
        }
        // A thousand of each, five standard deviations.
        assert!(
            seen[4] == 0 && seen[..4].iter().all(|n| (860..=1140).contains(n)),
            "{seen:?}"
        );
    }

    /// What was read comes to the answers by way of the last output alone, and each answer knows its place.
    #[test]
    fn all_answers_are_made_of_the_last_step() {
        let text = "[task]\nkind = 'compression'\nvocabulary = 4\nlength = 6\n[model]\nkind = 'gru'\nd_hidden = 5\n\
                    [optimizer]\nkind = 'adam'";
        let experiment = Experiment::from_document(text.parse().expect("TOML"), &[]);
        let experiment = experiment.expect("an experiment");
        let task = experiment.task.task();
        let device = Device::flex();
        let model = experiment.model.init(task, 1, &device).expect("a model");
        let inputs = task.batch(Split::Test, 0..3, &device).inputs;
        let logits = model.logits(inputs.clone());
        assert_eq!(logits.dims(), [3, 6, 4]);
        assert!(model.head.is_some(), "a perceptron");
        // The last step alone, from the state before it, says the same.
        let (_, state) = {
            let crate::tasks::Inputs::Tokens(tokens) = &inputs else {
                panic!("tokens")
            };
            let first = crate::tasks::Inputs::Tokens(tokens.clone().narrow(1, 0, 5));
            model.logits_from(first, None)
        };
        let (again, _) = model.logits_from(inputs.last_step(), Some(state));
        let off = (logits.clone() - again).abs().max().into_scalar::<f32>();
        assert!(off < 1e-5, "{off}");
        let places = logits.clone().narrow(1, 0, 5) - logits.narrow(1, 1, 5);
        let least = places.abs().max_dim(2).min().into_scalar::<f32>();
        assert!(least > 1e-4, "no two places are answered alike: {least}");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let error = task::<Compression>("vocabulary = 2").expect_err("one token");
        assert_eq!(
            error,
            "task.vocabulary is 2; it must lie between 3 and 65,536"
        );
        let error = task::<Compression>("length = 1").expect_err("an end alone");
        assert_eq!(error, "task.length is 1; it must lie between 2 and 100,000");
    }
}
