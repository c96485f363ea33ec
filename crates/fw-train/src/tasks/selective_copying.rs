//! Selective copying: say what stood between blanks.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, below, validate_vocabulary};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass};

/// Selective copying (Poli et al. 2024: MAD; Jing et al. 2019): tokens among blanks, then a mark: say the tokens again, without the blanks.
///
/// ```text
/// input   6 6 4 6 0 1 6 6 6 6 1 7 6 6 6 6        4 tokens of 0 to 5, the blank 6, the mark 7, 16 steps
/// target  . . . . . . . . . . . . 4 0 1 1
/// ```
///
/// Tokens are drawn alike, with replacement; each blank stands before a token drawn alike, so that a token comes right before the mark. Guessing errs on all but
/// `1 / (vocabulary - 2)`.
///
/// MAD's baseline is the default; it varies vocabulary (32, 64, 128), length (512, 1,024), tokens (32, 64, 96) and `training_samples` (12,800 down to 800).
///
/// # Differences from the public generator
///
/// There (athms/mad-lab at 0f49a45) the places of the blanks come from a generator that all of NumPy shares, and not from the task's seed; here one seed says everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectiveCopying {
    /// Tokens, the blank and the mark among them: 3 to 65,536. Default 16.
    pub vocabulary: usize,
    /// Steps of a sequence: `2 tokens + 1` to 100,000. Default 256.
    pub length: usize,
    /// Tokens that are said again, at least 1. Default 16.
    pub tokens: usize,
}

impl Default for SelectiveCopying {
    fn default() -> Self {
        SelectiveCopying {
            vocabulary: 16,
            length: 256,
            tokens: 16,
        }
    }
}

impl SelectiveCopying {
    fn blank(&self) -> u32 {
        self.vocabulary as u32 - 2
    }

    fn mark(&self) -> u32 {
        self.vocabulary as u32 - 1
    }
}

impl Generator for SelectiveCopying {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        validate_vocabulary(self.vocabulary, 3)?;
        let n = self.tokens;
        let in_range = (1..50_000).contains(&n);
        require(in_range, "task.tokens", n, "lie between 1 and 49,999")?;
        let least = 2 * n + 1;
        let holds = (least..=100_000).contains(&self.length);
        let rule = format!("lie between {least}, twice task.tokens and a mark, and 100,000");
        require(holds, "task.length", self.length, &rule)
    }

    fn format(&self) -> Format {
        let n = self.vocabulary;
        Format {
            input: InputFormat::Tokens { n_tokens: n },
            answer: AnswerFormat::Classes { n_classes: n - 2 },
        }
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let said: Vec<u32> = (0..self.tokens).map(|_| below(rng, self.blank())).collect();
        let mut blanks = vec![0; self.tokens];
        for _ in 0..self.length - 2 * self.tokens - 1 {
            blanks[below(rng, self.tokens as u32) as usize] += 1;
        }
        let mut tokens = Vec::with_capacity(self.length);
        for (token, n_blanks) in said.iter().zip(blanks) {
            tokens.extend(std::iter::repeat_n(self.blank(), n_blanks));
            tokens.push(*token);
        }
        tokens.push(self.mark());
        let mut answers = vec![None; tokens.len()];
        tokens.extend(std::iter::repeat_n(self.blank(), self.tokens));
        let asked = said.into_iter().map(|class| {
            Some(StepClass {
                class,
                counts: true,
            })
        });
        answers.extend(asked);
        Sample {
            input: Input::Tokens(tokens),
            answer: Answer::Classes(answers),
        }
    }

    fn token_text(&self, token: u32) -> String {
        match token {
            token if token == self.blank() => " .".to_owned(),
            token if token == self.mark() => " >".to_owned(),
            token => format!(" {token}"),
        }
    }

    fn class_text(&self, class: u32) -> String {
        format!(" {class}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;

    #[test]
    fn the_answer_is_what_was_read_without_the_blanks() {
        let task =
            task::<SelectiveCopying>("vocabulary = 8\nlength = 30\ntokens = 5").expect("a task");
        let mut before = [0.0; 5];
        for index in 0..2000 {
            let sample = task.draw(Split::Train, index);
            let tokens = sample.tokens();
            assert_eq!(tokens.len(), 30);
            assert_eq!(tokens[24], 7);
            assert!(tokens[25..].iter().all(|token| *token == 6));
            assert!(tokens[23] < 6, "a token stands before the mark");
            let read: Vec<u32> = tokens[..24]
                .iter()
                .copied()
                .filter(|token| *token < 6)
                .collect();
            let (silent, asked) = sample.classes().split_at(25);
            assert!(silent.iter().all(Option::is_none));
            let asked: Vec<u32> = asked.iter().flatten().map(|step| step.class).collect();
            assert_eq!((asked.len(), &asked), (5, &read));
            let groups = tokens[..24].split(|token| *token < 6);
            groups
                .take(5)
                .zip(&mut before)
                .for_each(|(group, n)| *n += group.len() as f64);
        }
        // 19 blanks before five tokens alike.
        assert!(
            before.iter().all(|n| (n / 2000.0 - 3.8).abs() < 0.2),
            "{before:?}"
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let error = task::<SelectiveCopying>("length = 32").expect_err("no room");
        assert_eq!(
            error,
            "task.length is 32; it must lie between 33, twice task.tokens and a mark, and 100,000"
        );
        let error = task::<SelectiveCopying>("tokens = 0").expect_err("nothing");
        assert_eq!(error, "task.tokens is 0; it must lie between 1 and 49,999");
        let error = task::<SelectiveCopying>("vocabulary = 2").expect_err("no token");
        assert_eq!(
            error,
            "task.vocabulary is 2; it must lie between 3 and 65,536"
        );
    }
}
