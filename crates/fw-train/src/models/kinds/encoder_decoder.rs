//! Two nets: one reads a source, the other says a target.

use burn::tensor::Tensor;
use fw_core::{
    AnyLayer, EncoderDecoderConfig, LayerConfig, LstmConfig, NetConfig, NtmConfig, Recurrent,
    SourceAttention, Stack,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Kind, Settings, delta_net, trace_as};
use crate::Error;
use crate::models::heat_map::{HeatMap, Layer, MapPairs, WRITES};

pub(super) struct EncoderDecoder;

/// What the decoder reaches of the encoder's states, besides the state that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Interface {
    /// Nothing: an LSTM hands its last state to an LSTM.
    Nothing,
    /// All of them, by attention (Luong et al. 2015: global, bilinear score, no input feeding); both nets are LSTMs.
    Attention,
    /// All of them, by fast weights (Ba et al. 2016): the outer products of the encoder's states, faded by their age, which the
    /// decoder reads with its state. Attention without a softmax; both nets are LSTMs.
    FastWeights,
    /// What the encoder wrote to its memory, which the decoder goes on with; both are Turing machines with an LSTM controller.
    Ntm,
    /// The memories that it wrote, which the decoder goes on with; both are DeltaNets.
    DeltaNet,
}

impl Interface {
    /// Its name in an experiment.
    fn name(self) -> &'static str {
        match self {
            Interface::Nothing => "nothing",
            Interface::Attention => "attention",
            Interface::FastWeights => "fast-weights",
            Interface::Ntm => "ntm",
            Interface::DeltaNet => "delta-net",
        }
    }
}

/// What both nets have, each where its kind has it.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Nets {
    /// What the decoder reaches of the encoder's states, besides the state that it begins with. Default `"attention"`.
    interface: Interface,
    /// Width of either net, at least 1. Default 64.
    d_hidden: usize,
    /// With `"ntm"`, the words of the memory, at least 3. Default 32.
    memory_size: usize,
    /// With `"ntm"`, the width of a word, at least 1. Default 20.
    word_size: usize,
    /// With `"delta-net"`, the heads of a layer, at least 1, which divide `d_hidden`. Default 4.
    n_heads: usize,
    /// With `"delta-net"`, layers upon each other: between 1 and 1000. Default 1.
    n_layers: usize,
}

impl Nets {
    const DEFAULT: Nets = Nets {
        interface: Interface::Attention,
        d_hidden: 64,
        memory_size: 32,
        word_size: 20,
        n_heads: 4,
        n_layers: 1,
    };

    fn attention(&self) -> SourceAttention {
        match self.interface {
            Interface::Attention => SourceAttention::Softmax,
            Interface::FastWeights => SourceAttention::FastWeights,
            Interface::Nothing | Interface::Ntm | Interface::DeltaNet => SourceAttention::None,
        }
    }

    /// Either net.
    fn net(&self, d_input: usize) -> Result<NetConfig, Error> {
        Ok(match self.interface {
            Interface::Nothing | Interface::Attention | Interface::FastWeights => {
                NetConfig::Lstm(LstmConfig::new(d_input, self.d_hidden))
            }
            Interface::Ntm => {
                let ntm = NtmConfig::new(d_input, self.d_hidden);
                let ntm = ntm.with_memory_size(self.memory_size);
                NetConfig::Ntm(ntm.with_word_size(self.word_size))
            }
            Interface::DeltaNet => NetConfig::DeltaNet(delta_net::layers_of(
                d_input,
                self.d_hidden,
                self.n_heads,
                self.n_layers,
            )?),
        })
    }
}

impl Kind for EncoderDecoder {
    fn name(&self) -> &'static str {
        "encoder-decoder"
    }

    fn about(&self) -> &'static str {
        "one net reads the source, another says the target; what it reaches of the source is model.interface"
    }

    fn settings(&self) -> Settings {
        let around = Settings::of(&EncoderDecoderConfig::new(1));
        around
            .without(&["source_length", "attention"])
            .and(&Nets::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let Some(source_length) = given.source_length else {
            return Err(Error::usage(
                "model.kind is encoder-decoder; the task must turn a source into a target, as transduction and copy-memory do",
            ));
        };
        let nets: Nets = given.own()?;
        let around = EncoderDecoderConfig::new(source_length).with_attention(nets.attention());
        Ok(LayerConfig::EncoderDecoder {
            around: given.over(&around, &[])?,
            net: nets.net(given.d_input)?,
        })
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<fw_core::EncoderDecoder<fw_core::Lstm>>(layer, input)
            .or_else(|| trace_as::<fw_core::EncoderDecoder<fw_core::Ntm>>(layer, input))
            .or_else(|| trace_as::<fw_core::EncoderDecoder<Stack<fw_core::DeltaNet>>>(layer, input))
    }

    fn reads_source(&self) -> bool {
        true
    }

    fn title(&self, given: &Given) -> String {
        let nets = given.own::<Nets>();
        nets.map_or(self.name().to_owned(), |nets| {
            format!("{} with {}", self.name(), nets.interface.name())
        })
    }
}

impl<R: Layer> Layer for fw_core::EncoderDecoder<R> {
    /// The maps begin with the source, whatever the state: a sample is drawn whole.
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let [_, seq_length, _] = input.dims();
        let n_source = self.source_length().min(seq_length);
        let source = input.clone().narrow(1, 0, n_source);
        let (read, net) = self.encoder.trace(source.clone(), None);
        let mut maps = read;
        if n_source < seq_length {
            let target = input.clone().narrow(1, n_source, seq_length - n_source);
            let (said, _) = self.decoder.trace(target.clone(), Some(net));
            maps = joined(maps, said, [n_source, seq_length - n_source]);
            let (encoded, net) = self.encoder.forward(source, None);
            let (outputs, _) = self.decoder.forward(target, Some(net));
            if let Some(weights) = self.attention(&outputs, &encoded) {
                let nothing = Tensor::zeros([1, n_source, n_source], &weights.device());
                let weights = Tensor::cat(vec![nothing, weights], 1);
                let map = HeatMap::new("attention to the source", "step", weights.squeeze_dim(0));
                maps.push([Some(map), None]);
            }
        }
        let (_, state) = self.forward(input, state);
        (maps, state)
    }
}

/// Maps of the source and of the target, one after the other. What each wrote are rows of its own.
fn joined(read: MapPairs, said: MapPairs, steps: [usize; 2]) -> MapPairs {
    let one = |[read, said]: [HeatMap; 2]| {
        // The row of the second net's first.
        let below = if read.rows == WRITES {
            read.values.len()
        } else {
            0
        };
        let n_rows = read.values.len().max(below + said.values.len());
        let row =
            |map: &HeatMap, row: Option<usize>, n| match row.and_then(|row| map.values.get(row)) {
                Some(values) => values.clone(),
                None => vec![0.0; n],
            };
        let rows = (0..n_rows).map(|index| {
            let of_target = index.checked_sub(below);
            [
                row(&read, Some(index), steps[0]),
                row(&said, of_target, steps[1]),
            ]
            .concat()
        });
        HeatMap {
            values: rows.collect(),
            ..read
        }
    };
    let pairs = read.into_iter().zip(said);
    let pairs = pairs.map(|([read, beside], [said, also])| {
        [(read, said), (beside, also)].map(|(read, said)| Some(one([read?, said?])))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_net_wrote_are_rows_of_its_own_and_places_are_the_same_rows() {
        let map = |rows, values: &[&[f32]]| HeatMap {
            title: String::new(),
            rows,
            values: values.iter().map(|row| row.to_vec()).collect(),
        };
        for (rows, expected) in [
            (
                WRITES,
                vec![
                    vec![1.0, 2.0, 0.0],
                    vec![0.0, 3.0, 0.0],
                    vec![0.0, 0.0, 4.0],
                ],
            ),
            ("location", vec![vec![1.0, 2.0, 4.0], vec![0.0, 3.0, 0.0]]),
        ] {
            let read = map(rows, &[&[1.0, 2.0], &[0.0, 3.0]]);
            let said = map(rows, &[&[4.0]]);
            let maps = joined(vec![[Some(read), None]], vec![[Some(said), None]], [2, 1]);
            let map = maps[0][0].as_ref().expect("a map");
            assert_eq!(map.values, expected, "{rows}");
            assert!(maps[0][1].is_none());
        }
    }
}
