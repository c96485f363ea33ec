//! Who speaks? A net on speeches of Shakespeare, which are of unequal lengths, trained in two ways that come to the same; and then it answers while it
//! reads.
//!
//! ```text
//! cargo run --release -p speakers                  400 updates, six seconds once built
//! cargo run --release -p speakers -- 100           .. or as many as you say
//! ```
//!
//! Padded: a batch is a speech a row, as long as the longest of them, with the length of each. What the net thinks of a speech is its state after the
//! speech's own last word. Packed: a batch is rows of one length, with speeches one behind the other, and the net begins anew before each of them; what
//! it thinks is its output at each one's last word. In both ways a padded step is never computed ([`Segments`]).

use std::collections::HashMap;
use std::error::Error;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fw_core::{Gru, GruConfig, Recurrent, Segments};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_SPEAKERS: usize = 10;
/// Words of a speech that are read.
const MOST_WORDS: usize = 60;
/// A word that occurs less often is one of the unknown.
const LEAST_COUNT: usize = 2;
const BATCH_SIZE: usize = 32;
/// Words in a row of packed speeches.
const ROW: usize = 100;
/// Speeches of which none is learned from.
const N_TEST: usize = 300;

struct Speech {
    text: Vec<String>,
    /// The words by their numbers; 0 is an unknown one.
    words: Vec<usize>,
    speaker: usize,
}

/// The speeches of those who speak most often, their names, and how many words are known.
fn speeches(text: &str) -> (Vec<Speech>, Vec<String>, usize) {
    let speeches = text
        .split("\n\n")
        .filter_map(|speech| speech.split_once(":\n"));
    let speeches: Vec<(&str, &str)> = speeches.filter(|(_, words)| !words.is_empty()).collect();
    let names = by_count(speeches.iter().map(|(name, _)| (*name).to_owned()));
    let names: Vec<String> = names
        .into_iter()
        .take(N_SPEAKERS)
        .map(|(name, _)| name)
        .collect();
    let of_them = speeches.iter().filter_map(|(name, words)| {
        let speaker = names.iter().position(|known| known == name)?;
        let words = words.split(|letter: char| !letter.is_alphabetic() && letter != '\'');
        let words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
        Some((words.take(MOST_WORDS).collect(), speaker))
    });
    let of_them: Vec<(Vec<String>, usize)> = of_them.collect();
    let all = by_count(of_them.iter().flat_map(|(words, _)| words.clone()));
    let known = all
        .into_iter()
        .take_while(|(_, count)| *count >= LEAST_COUNT);
    let known: HashMap<String, usize> = known
        .enumerate()
        .map(|(index, (word, _))| (word, index + 1))
        .collect();
    let speech = |(text, speaker): (Vec<String>, usize)| Speech {
        words: text
            .iter()
            .map(|word| known.get(word).copied().unwrap_or(0))
            .collect(),
        text,
        speaker,
    };
    (
        of_them.into_iter().map(speech).collect(),
        names,
        known.len() + 1,
    )
}

/// What there is and how often, the most frequent first.
fn by_count(items: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = HashMap::<String, usize>::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|(word, count), (other, other_count)| {
        other_count.cmp(count).then(word.cmp(other))
    });
    counts
}

/// Embedding -> GRU -> linear.
#[derive(Module, Debug)]
struct Listener {
    embedding: Embedding,
    dropout: Dropout,
    memory: Gru,
    output: Linear,
}

impl Listener {
    fn new(n_words: usize, device: &Device) -> Self {
        Listener {
            embedding: EmbeddingConfig::new(n_words, 64).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            memory: GruConfig::new(64, 48).init(device),
            output: LinearConfig::new(48, N_SPEAKERS).init(device),
        }
    }

    /// `[rows, length]` to `[rows, length, 64]`.
    fn embed(&self, rows: &[Vec<usize>], length: usize, device: &Device) -> Tensor<3> {
        self.dropout
            .forward(self.embedding.forward(padded(rows, length, device)))
    }

    /// A speech a row: logits `[speeches, N_SPEAKERS]`.
    fn of_padded(&self, speeches: &[&Speech], device: &Device) -> Tensor<2> {
        let rows: Vec<Vec<usize>> = speeches.iter().map(|speech| speech.words.clone()).collect();
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let segments = Segments::new(rows.len(), longest).with_lengths(&lengths);
        let segments = segments.expect("no speech is longer than the longest");
        let input = self.embed(&rows, longest, device);
        let (_, state) = self.memory.forward_segments(input, None, &segments);
        self.output.forward(self.dropout.forward(state))
    }

    /// Several speeches a row: logits `[speeches, N_SPEAKERS]`, row by row.
    fn of_packed(&self, rows: &[Vec<&Speech>], device: &Device) -> Tensor<2> {
        let lengths = |row: &Vec<&Speech>| row.iter().map(|speech| speech.words.len()).collect();
        let documents: Vec<Vec<usize>> = rows.iter().map(lengths).collect();
        let segments = Segments::packed(&documents, ROW).expect("rows that are not too long");
        let text =
            |row: &Vec<&Speech>| row.iter().flat_map(|speech| speech.words.clone()).collect();
        let text: Vec<Vec<usize>> = rows.iter().map(text).collect();
        let (output, _) =
            self.memory
                .forward_segments(self.embed(&text, ROW, device), None, &segments);
        // The last word of each speech.
        let mut ends = Vec::new();
        for (row, lengths) in documents.iter().enumerate() {
            let mut end = row * ROW;
            for length in lengths {
                end += length;
                ends.push((end - 1) as i64);
            }
        }
        let n = ends.len();
        let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [n]), device);
        let output: Tensor<2> = output.flatten(0, 1);
        self.output
            .forward(self.dropout.forward(output.select(0, ends)))
    }

    /// The share of speeches whose speaker is known.
    fn accuracy(&self, speeches: &[Speech], device: &Device) -> f64 {
        let all: Vec<&Speech> = speeches.iter().collect();
        let answers = self.of_padded(&all, device).argmax(1).into_data();
        let pairs = all.iter().zip(answers.iter::<i64>());
        let right = pairs.filter(|(speech, answer)| speech.speaker as i64 == *answer);
        right.count() as f64 / all.len() as f64
    }
}

/// `[rows, length]`, with any word where there is none.
fn padded(rows: &[Vec<usize>], length: usize, device: &Device) -> Tensor<2, Int> {
    let padded = rows
        .iter()
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat(0)).take(length));
    let padded: Vec<i64> = padded.map(|word| word as i64).collect();
    Tensor::from_data(TensorData::new(padded, [rows.len(), length]), device)
}

/// As many speeches into each row as it has room for, in their order.
fn packed<'a>(speeches: &[&'a Speech]) -> Vec<Vec<&'a Speech>> {
    let mut rows: Vec<Vec<&Speech>> = vec![Vec::new()];
    let mut room = ROW;
    for speech in speeches {
        if speech.words.len() > room {
            rows.push(Vec::new());
            room = ROW;
        }
        room -= speech.words.len();
        rows.last_mut().expect("a row").push(speech);
    }
    rows
}

fn train(
    speeches: &[Speech],
    n_words: usize,
    updates: usize,
    is_packed: bool,
    device: &Device,
) -> Listener {
    device.seed(1);
    let mut model = Listener::new(n_words, device);
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(device);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..updates {
        let one = |_| &speeches[rng.random_range(0..speeches.len())];
        let chosen: Vec<&Speech> = (0..BATCH_SIZE).map(one).collect();
        let logits = match is_packed {
            true => model.of_packed(&packed(&chosen), device),
            false => model.of_padded(&chosen, device),
        };
        let speakers: Vec<i64> = chosen.iter().map(|speech| speech.speaker as i64).collect();
        let speakers = Tensor::from_data(TensorData::new(speakers, [BATCH_SIZE]), device);
        let gradients = loss.forward(logits, speakers).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(0.005, model, gradients);
    }
    model.valid()
}

/// Reads a speech word by word, and says now and then who speaks.
fn listen(model: &Listener, speech: &Speech, names: &[String], device: &Device) {
    let mut state = model.memory.initial_state(1, device);
    for (count, word) in (1..).zip(&speech.words) {
        let input = model.embed(&[vec![*word]], 1, device);
        let (output, next) = model.memory.step(input.squeeze_dim(1), state);
        state = next;
        if count % 6 == 0 || count == speech.words.len() {
            let chances = softmax(model.output.forward(output), 1);
            let chances: Vec<f32> = chances.try_into_vec_as().expect("numbers");
            let best = (0..N_SPEAKERS).max_by(|a, b| chances[*a].total_cmp(&chances[*b]));
            let best = best.expect("there are speakers");
            let read = speech.text[(count - 1) / 6 * 6..count].join(" ");
            println!(".. {read}: {}, {:.0} %", names[best], 100.0 * chances[best]);
        }
    }
    println!("it was {}", names[speech.speaker]);
}

fn main() -> Result<(), Box<dyn Error>> {
    let updates = std::env::args()
        .nth(1)
        .map_or(Ok(400), |updates| updates.parse())?;
    let text = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../data/tinyshakespeare.txt"
    );
    let (mut all, names, n_words) = speeches(&std::fs::read_to_string(text)?);
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    let (test, learned_from) = all.split_at(N_TEST);
    let of = |speaker| {
        test.iter()
            .filter(|speech| speech.speaker == speaker)
            .count()
    };
    let most = (0..N_SPEAKERS).map(of).max().unwrap_or(0);
    println!("{} speeches of {}", all.len(), names.join(", "));
    println!(
        "always the same name: {:.1} % right",
        100.0 * most as f64 / N_TEST as f64
    );

    let device = Device::flex();
    let [padded, packed] = [false, true].map(|is_packed| {
        let device = device.clone().autodiff();
        train(learned_from, n_words, updates, is_packed, &device)
    });
    println!(
        "padded, with lengths: {:.1} % right",
        100.0 * padded.accuracy(test, &device)
    );
    println!(
        "packed, with resets: {:.1} % right",
        100.0 * packed.accuracy(test, &device)
    );
    let longest = test.iter().max_by_key(|speech| speech.words.len());
    listen(&padded, longest.expect("speeches"), &names, &device);
    Ok(())
}
