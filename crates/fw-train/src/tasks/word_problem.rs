//! Word problems of finite groups: keep track of a state that every step changes.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::tasks::generated::{Generator, Range, below};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass};

/// The word problem of a group (Barrington 1989; as a test of state tracking in Merrill et al. 2024 and Siems et al. 2025): the product of all elements
/// so far, at every step.
///
/// ```text
/// input    2 1 5 4 3       elements of S3 by their numbers, drawn alike
/// target   2 3 1 2 1       a_t = a_{t-1} x_t, which begins with the identity, 0
/// ```
///
/// A permutation of n places has the number of its place in the alphabetical list of all (of an alternating group: of its own); S3 is 123, 132, 213, 231, 312 and 321. A
/// product applies the right element first: `(a b)(i) = a(b(i))`. In a cyclic group Z_n an element is a number, and the product the sum
/// modulo n: Z_2 is parity. A net that has learned to combine two elements at every step is right at any length; one that has learned words by heart is not. So one trains on
/// short words and tests on long ones (`[test]` with `length`). Guessing is right once in as many answers as the group has elements.
///
/// # Differences from the public generators
///
/// There is no token before the first element, and none but the elements: jopetty/word-problem and DeltaProduct's code put a BOS there, which counts as one more answer, and have six more
/// classes that never come. Training words are drawn afresh, not from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WordProblem {
    /// The group. Default `"s3"`.
    pub group: Group,
    /// Elements of a word: a number from 1 to 100,000, or `[least, most]`. Default `[2, 40]`.
    pub length: Range,
}

/// A finite group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Two elements: parity.
    Z2,
    /// Sixty elements that commute: solvable, with a counter.
    Z60,
    /// All permutations of three places: 6 elements, the smallest group that does not commute.
    S3,
    /// All permutations of four places: 24 elements, still solvable.
    S4,
    /// The even permutations of four places, and numbers modulo 5: 60 elements, solvable.
    A4XZ5,
    /// The even permutations of five places: 60 elements, the smallest group that is not solvable.
    A5,
    /// All permutations of five places: 120 elements, not solvable.
    S5,
}

impl Default for WordProblem {
    fn default() -> Self {
        WordProblem {
            group: Group::S3,
            length: Range::Between([2, 40]),
        }
    }
}

/// The products of a group, row by row.
struct Products {
    order: usize,
    table: Vec<u8>,
}

impl Products {
    fn new(order: usize, product: impl Fn(usize, usize) -> usize) -> Self {
        let pairs = (0..order * order).map(|pair| product(pair / order, pair % order));
        Products {
            order,
            table: pairs.map(|element| element as u8).collect(),
        }
    }

    fn cyclic(order: usize) -> Self {
        Products::new(order, |one, other| (one + other) % order)
    }

    /// Permutations of `n` places, all or the even ones.
    fn of_permutations(n: usize, only_even: bool) -> Self {
        let all = permutations(n).into_iter();
        let all: Vec<Vec<usize>> = all.filter(|one| !only_even || is_even(one)).collect();
        Products::new(all.len(), |one, other| {
            let product: Vec<usize> = all[other].iter().map(|&place| all[one][place]).collect();
            let place = all.iter().position(|known| *known == product);
            place.expect("a group holds its products")
        })
    }

    /// Pairs of elements, the second of which counts up first.
    fn direct(one: &Products, other: &Products) -> Self {
        let n = other.order;
        Products::new(one.order * n, |a, b| {
            n * one.of(a / n, b / n) + other.of(a % n, b % n)
        })
    }

    fn of(&self, one: usize, other: usize) -> usize {
        usize::from(self.table[one * self.order + other])
    }
}

/// All permutations of 0..n, in alphabetical order.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..n {
        let longer = all.iter().flat_map(|begun: &Vec<usize>| {
            let left = (0..n).filter(|place| !begun.contains(place));
            left.map(|place| [begun.as_slice(), &[place]].concat())
        });
        all = longer.collect();
    }
    all
}

/// Whether an even number of pairs stand the wrong way round.
fn is_even(permutation: &[usize]) -> bool {
    let pairs = permutation.iter().enumerate().flat_map(|(place, one)| {
        let behind = permutation[place + 1..].iter();
        behind.filter(move |other| one > other)
    });
    pairs.count().is_multiple_of(2)
}

impl Group {
    fn products(self) -> &'static Products {
        macro_rules! once {
            ($products:expr) => {{
                static PRODUCTS: LazyLock<Products> = LazyLock::new(|| $products);
                &PRODUCTS
            }};
        }
        match self {
            Group::Z2 => once!(Products::cyclic(2)),
            Group::Z60 => once!(Products::cyclic(60)),
            Group::S3 => once!(Products::of_permutations(3, false)),
            Group::S4 => once!(Products::of_permutations(4, false)),
            Group::A4XZ5 => once!(Products::direct(
                &Products::of_permutations(4, true),
                &Products::cyclic(5)
            )),
            Group::A5 => once!(Products::of_permutations(5, true)),
            Group::S5 => once!(Products::of_permutations(5, false)),
        }
    }
}

impl Generator for WordProblem {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        self.length.validate("task.length", 1, 100_000)
    }

    fn format(&self) -> Format {
        let order = self.group.products().order;
        Format {
            input: InputFormat::Tokens { n_tokens: order },
            answer: AnswerFormat::Classes { n_classes: order },
        }
    }

    fn longest(&self) -> usize {
        self.length.most()
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let products = self.group.products();
        let length = self.length.draw(rng);
        let word: Vec<u32> = (0..length)
            .map(|_| below(rng, products.order as u32))
            .collect();
        let so_far = word.iter().scan(0, |state, &element| {
            *state = products.of(*state, element as usize);
            Some(StepClass {
                class: *state as u32,
                counts: true,
            })
        });
        let answers = so_far.map(Some).collect();
        Sample {
            answer: Answer::Classes(answers),
            input: Input::Tokens(word),
        }
    }

    fn token_text(&self, token: u32) -> String {
        format!(" {token}")
    }

    fn class_text(&self, class: u32) -> String {
        format!(" {class}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;
    use crate::tasks::{Generated, Task};

    const ALL: [(Group, usize); 7] = [
        (Group::Z2, 2),
        (Group::Z60, 60),
        (Group::S3, 6),
        (Group::S4, 24),
        (Group::A4XZ5, 60),
        (Group::A5, 60),
        (Group::S5, 120),
    ];

    fn prefixes(group: Group, word: &[usize]) -> Vec<usize> {
        let products = group.products();
        let states = word.iter().scan(0, |state, &element| {
            *state = products.of(*state, element);
            Some(*state)
        });
        states.collect()
    }

    /// Words that the public code answers so.
    #[test]
    fn prefixes_are_those_of_the_public_generators() {
        assert_eq!(prefixes(Group::S3, &[1, 2, 3]), [1, 4, 0]);
        assert_eq!(prefixes(Group::S3, &[2, 1, 5, 4, 3]), [2, 3, 1, 2, 1]);
        assert_eq!(prefixes(Group::A5, &[1, 2, 3, 59]), [1, 0, 3, 46]);
        assert_eq!(prefixes(Group::S5, &[1, 2, 119]), [1, 4, 89]);
        assert_eq!(prefixes(Group::Z2, &[1, 1, 0, 1]), [1, 0, 0, 1]);
    }

    #[test]
    fn every_table_is_a_group_and_as_commutative_as_it_must_be() {
        for (group, order) in ALL {
            let products = group.products();
            assert_eq!(products.order, order, "{group:?}");
            let all = || 0..order;
            for a in all() {
                assert_eq!([products.of(0, a), products.of(a, 0)], [a, a], "{group:?}");
                let mut row: Vec<usize> = all().map(|b| products.of(a, b)).collect();
                row.sort_unstable();
                assert!(row.into_iter().eq(all()), "{group:?}: each element once");
                // Three factors, a few of them where there are many.
                for b in all().step_by(1 + order / 24) {
                    for c in all().step_by(1 + order / 24) {
                        let left = products.of(products.of(a, b), c);
                        assert_eq!(left, products.of(a, products.of(b, c)), "{group:?}");
                    }
                }
            }
        }
        let commuting = |group: Group| {
            let (products, mut n) = (group.products(), 0);
            for a in 0..products.order {
                for b in 0..products.order {
                    n += usize::from(products.of(a, b) == products.of(b, a));
                }
            }
            n as f64 / (products.order * products.order) as f64
        };
        for (group, share) in [
            (Group::Z60, 1.0),
            (Group::S3, 0.5),
            (Group::A5, 5.0 / 60.0),
            (Group::S5, 7.0 / 120.0),
        ] {
            assert!((commuting(group) - share).abs() < 1e-12, "{group:?}");
        }
    }

    #[test]
    fn a_sample_is_a_word_with_the_product_of_every_prefix() {
        let task: Generated<WordProblem> = task("group = 'a5'\nlength = [3, 9]").expect("a task");
        let mut lengths = [0; 10];
        let mut seen = [0; 60];
        for index in 0..2000 {
            let sample = task.draw(Split::Train, index);
            let word: Vec<usize> = sample.tokens().iter().map(|&x| x as usize).collect();
            lengths[word.len()] += 1;
            word.iter().for_each(|&element| seen[element] += 1);
            let answers = sample.classes().iter().flatten();
            let answers: Vec<usize> = answers.map(|step| step.class as usize).collect();
            assert_eq!(answers, prefixes(Group::A5, &word));
        }
        assert!(lengths[..3].iter().all(|&n| n == 0));
        // 2,000 words of seven lengths, 12,000 elements of sixty: five standard deviations.
        assert!(
            lengths[3..].iter().all(|&n| (205..=366).contains(&n)),
            "{lengths:?}"
        );
        assert!(seen.iter().all(|&n| (130..=270).contains(&n)), "{seen:?}");
        assert_eq!((task.seq_length(), task.format().d_output()), (9, 60));
    }

    #[test]
    fn samples_never_change_and_what_cannot_be_drawn_is_refused() {
        let task_of = task::<WordProblem>;
        let task = task_of("length = 8").expect("a task");
        let sample = task.draw(Split::Test, 0);
        let text: String = sample
            .tokens()
            .iter()
            .map(|&token| task.token_text(token))
            .collect();
        assert_eq!(text, " 1 0 5 5 3 4 0 1");
        let error = task_of("length = 0").expect_err("no word");
        assert_eq!(
            error,
            "task.length is 0; it must be a number, or [least, most], from 1 to 100000"
        );
        let error = task_of("group = 's6'").expect_err("no such group");
        assert!(
            error.starts_with("task.group is \"s6\"; it must be \"z2\", \"z60\", \"s3\""),
            "{error}"
        );
    }
}
