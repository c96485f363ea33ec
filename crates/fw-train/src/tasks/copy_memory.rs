//! Copy memory: say symbols again after many blanks.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, Range, below};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass};

/// Copy memory (Hochreiter, Schmidhuber 1997; as in Arjovsky et al. 2016 and Ke et al. 2018).
///
/// ```text
/// input   02076.....?.....       symbols, blanks, a marker, and as many blanks as there were symbols
/// target  ...........02076       blanks, then the symbols         (5 symbols, 6 steps between)
/// counts             xxxxx
/// ```
///
/// Symbols are drawn from 0 to 7 alike. The model reads `2 symbols + steps` tokens, of which `steps` stand between the last symbol
/// and the first answer, and says a blank or a symbol at each. Blanks count for the loss, but not for the error: that is the share of
/// wrong symbols. Guessing errs 7 times in 8 and costs ln 8 = 2.08 nats for each symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CopyMemory {
    /// T, the steps between the last symbol and the first answer, 1 to 100,000: a number, or `[least, most]` for samples of unequal lengths,
    /// which keep a model from counting on one of them. Default 100.
    pub steps: Range,
    /// Symbols to remember: 1 to 1,000. Default 10, as in the papers.
    pub symbols: usize,
}

impl Default for CopyMemory {
    fn default() -> Self {
        CopyMemory {
            steps: Range::Exactly(100),
            symbols: 10,
        }
    }
}

const N_SYMBOLS: u32 = 8;
const BLANK: u32 = N_SYMBOLS;
const MARKER: u32 = N_SYMBOLS + 1;

impl Generator for CopyMemory {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        self.steps.validate("task.steps", 1, 100_000)?;
        let symbols = (1..=1_000).contains(&self.symbols);
        let rule = "lie between 1 and 1,000";
        require(symbols, "task.symbols", self.symbols, rule)
    }

    fn format(&self) -> Format {
        Format {
            input: InputFormat::Tokens {
                n_tokens: MARKER as usize + 1,
            },
            answer: AnswerFormat::Classes {
                n_classes: BLANK as usize + 1,
            },
        }
    }

    fn longest(&self) -> usize {
        2 * self.symbols + self.steps.most()
    }

    fn source_length(&self) -> Option<usize> {
        let [least, most] = self.steps.bounds();
        (least == most).then_some(self.symbols + most)
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let symbols: Vec<u32> = (0..self.symbols).map(|_| below(rng, N_SYMBOLS)).collect();
        let steps = self.steps.draw(rng);
        let blanks = |n| std::iter::repeat_n(BLANK, n);
        let tokens = symbols.iter().copied();
        let tokens = tokens.chain(blanks(steps - 1)).chain([MARKER]);
        let tokens = tokens.chain(blanks(self.symbols));
        let silence = blanks(self.symbols + steps).map(|class| StepClass {
            class,
            counts: false,
        });
        let answers = symbols.iter().map(|&class| StepClass {
            class,
            counts: true,
        });
        Sample {
            input: Input::Tokens(tokens.collect()),
            answer: Answer::Classes(silence.chain(answers).map(Some).collect()),
        }
    }

    fn token_text(&self, token: u32) -> String {
        match token {
            MARKER => "?".to_owned(),
            class => self.class_text(class),
        }
    }

    fn class_text(&self, class: u32) -> String {
        match class {
            BLANK => ".".to_owned(),
            symbol => symbol.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;
    use crate::tasks::{Generated, Task};

    /// Input and target as the documentation draws them, and which answers count.
    fn drawn(task: &Generated<CopyMemory>, split: Split, index: u64) -> [String; 3] {
        let sample = task.draw(split, index);
        let (Input::Tokens(tokens), Answer::Classes(classes)) = (&sample.input, &sample.answer)
        else {
            panic!("{sample:?}");
        };
        let classes: Vec<StepClass> = classes.iter().map(|class| class.expect("asked")).collect();
        let text = classes.iter().map(|step| task.class_text(step.class));
        let counts = classes
            .iter()
            .map(|step| if step.counts { 'x' } else { ' ' });
        [
            tokens.iter().map(|&token| task.token_text(token)).collect(),
            text.collect(),
            counts.collect(),
        ]
    }

    #[test]
    fn samples_never_change_and_look_as_documented() {
        let task = task("symbols = 5\nsteps = 6").expect("a task");
        assert_eq!(
            drawn(&task, Split::Test, 0),
            ["02076.....?.....", "...........02076", "           xxxxx"]
        );
        assert_eq!(drawn(&task, Split::Train, 0)[0].len(), task.seq_length());
    }

    #[test]
    fn steps_of_a_range_are_drawn_alike_for_each_sample() {
        let task = task("symbols = 2\nsteps = [3, 6]").expect("a task");
        assert_eq!((task.seq_length(), task.source_length()), (10, None));
        let mut counts = [0; 4];
        for index in 0..400 {
            let [input, target, _] = drawn(&task, Split::Train, index);
            let steps = input.find('?').expect("a marker") - 1;
            assert_eq!(input[..2], target[2 + steps..]);
            counts[steps - 3] += 1;
        }
        // 100 of each, give or take five standard deviations.
        assert!(counts.iter().all(|n| (57..=143).contains(n)), "{counts:?}");
    }

    #[test]
    fn the_answer_is_the_symbols_whatever_the_steps_between() {
        for steps in [1, 2, 50] {
            let task = task(&format!("steps = {steps}")).expect("a task");
            let mut counts = [0; 8];
            for index in 0..200 {
                let [input, target, _] = drawn(&task, Split::Train, index);
                assert_eq!(input[..10], target[10 + steps..]);
                assert_eq!(input.find('?'), Some(9 + steps));
                for digit in input[..10].bytes() {
                    counts[usize::from(digit - b'0')] += 1;
                }
            }
            // 2,000 symbols of 8: 250 each, give or take five standard deviations.
            assert!(counts.iter().all(|n| (175..=325).contains(n)), "{counts:?}");
        }
    }
}
