//! The optimiser: which one, with which settings, and its learning rate by step.

mod adam;
mod rms_prop;
mod sgd;

use burn::optim::ModuleOptimizer;
use burn::optim::decay::WeightDecayConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::{Field, Section, fields, names_of, unknown_kind};
use crate::training::clip::Clip;

pub use adam::{Adam, AdamW};
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

/// An optimiser with its settings.
trait Optimizer {
    /// Checks every field.
    fn validate(&self) -> Result<(), Error>;

    /// The optimiser, with no state yet.
    fn init(&self, weight_decay: f64) -> ModuleOptimizer;
}

/// Declares the optimisers: their kinds on the command line and a line about each.
macro_rules! optimizers {
    ($($variant:ident($optimizer:ty), $kind:literal, $about:literal;)*) => {
        /// The optimiser of an experiment, by kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        pub enum OptimizerKind {
            $(#[doc = $about] #[serde(rename = $kind)] $variant($optimizer),)*
        }

        impl OptimizerKind {
            /// Each kind's name and a line about it.
            pub const KINDS: &[(&str, &str)] = &[$(($kind, $about),)*];

            fn from_section(kind: &str, section: Section) -> Result<Self, Error> {
                match kind {
                    $($kind => Ok(OptimizerKind::$variant(section.parse()?)),)*
                    _ => Err(unknown_kind("optimizer", kind, &names_of(Self::KINDS))),
                }
            }

            /// The settings of a kind, each with its default: its own, and those that every optimiser has.
            pub fn fields(kind: &str) -> Option<Vec<Field>> {
                let own = match kind {
                    $($kind => fields(&<$optimizer>::default()),)*
                    _ => return None,
                };
                let common = fields(&CommonSettings::default());
                Some(own.into_iter().chain(common).collect())
            }

            fn optimizer(&self) -> &dyn Optimizer {
                match self {
                    $(OptimizerKind::$variant(optimizer) => optimizer,)*
                }
            }
        }
    };
}

optimizers! {
    Adam(Adam), "adam", "Kingma, Ba 2015";
    AdamW(AdamW), "adam-w", "Adam with decoupled weight decay: Loshchilov, Hutter 2019";
    RmsProp(RmsProp), "rms-prop", "Hinton 2012, with momentum";
    Sgd(Sgd), "sgd", "stochastic gradient descent with momentum";
}

/// Weight decay as an L2 penalty, if there is any.
fn penalty(weight_decay: f64) -> Option<WeightDecayConfig> {
    (weight_decay > 0.0).then_some(WeightDecayConfig {
        penalty: weight_decay as f32,
    })
}

fn require_share(field: &str, value: f64) -> Result<(), Error> {
    require((0.0..1.0).contains(&value), field, value, "lie in [0, 1)")
}

fn require_positive(field: &str, value: f32) -> Result<(), Error> {
    let is_positive = value.is_finite() && value > 0.0;
    require(is_positive, field, value, "be a number above 0")
}

/// The `[optimizer]` section of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizerConfig {
    /// Which optimiser, with its own settings.
    #[serde(flatten)]
    pub kind: OptimizerKind,
    /// What all of them have.
    #[serde(flatten)]
    pub common: CommonSettings,
}

/// Settings that every optimiser has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommonSettings {
    /// The learning rate before any schedule: above 0. Default 0.001.
    pub learning_rate: f64,
    /// Steps over which the rate grows from 0 to `learning_rate`. Default 0.
    pub warmup_steps: usize,
    /// How the rate goes on after that. Default `"constant"`.
    pub schedule: Schedule,
    /// The last steps, over which the schedule lowers the rate; until then it stays. 0 is all of them. Default 0.
    pub decay_steps: usize,
    /// How gradients are limited. Default `"none"`.
    pub clip: Clip,
    /// Weight decay, at least 0: an L2 penalty, which adds so many times a weight to its gradient; with `adam-w` each update takes
    /// `learning_rate * weight_decay` of a weight away. Default 0.
    pub weight_decay: f64,
}

impl Default for CommonSettings {
    fn default() -> Self {
        CommonSettings {
            learning_rate: 1e-3,
            warmup_steps: 0,
            schedule: Schedule::Constant,
            decay_steps: 0,
            clip: Clip::None,
            weight_decay: 0.0,
        }
    }
}

/// The learning rate's course over the last `decay_steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// A straight line down towards this share of the rate, which the step after the last would have.
    Linear(f64),
    /// Half a cosine down towards this share of the rate, likewise.
    Cosine(f64),
}

impl OptimizerConfig {
    pub(crate) fn from_section(mut section: Section) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        let common: CommonSettings = section.take_fields::<CommonSettings>().parse()?;
        let kind = OptimizerKind::from_section(&kind, section)?;
        kind.optimizer().validate()?;
        let above_zero = |value: f64| value.is_finite() && value > 0.0;
        let rate = common.learning_rate;
        let rule = "be a number above 0";
        require(above_zero(rate), "optimizer.learning_rate", rate, rule)?;
        let decay = common.weight_decay;
        require(
            decay.is_finite() && decay >= 0.0,
            "optimizer.weight_decay",
            decay,
            "be a number of at least 0",
        )?;
        match common.clip {
            Clip::None => Ok(()),
            Clip::Norm(limit) => require(above_zero(limit), "optimizer.clip.norm", limit, rule),
            Clip::Value(limit) => require(above_zero(limit), "optimizer.clip.value", limit, rule),
        }?;
        let share = |field: &str, share: f64| {
            let in_range = (0.0..=1.0).contains(&share);
            require(in_range, field, share, "lie in [0, 1]")
        };
        match common.schedule {
            Schedule::Constant => Ok(()),
            Schedule::Linear(to) => share("optimizer.schedule.linear", to),
            Schedule::Cosine(to) => share("optimizer.schedule.cosine", to),
        }?;
        Ok(OptimizerConfig { kind, common })
    }

    /// The optimiser, with no state yet.
    pub fn init(&self) -> ModuleOptimizer {
        self.kind.optimizer().init(self.common.weight_decay)
    }

    /// The learning rate of update `step`, counted from 1, of `steps`.
    pub fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let CommonSettings {
            learning_rate,
            warmup_steps,
            schedule,
            decay_steps,
            ..
        } = self.common;
        if step <= warmup_steps {
            return learning_rate * step as f64 / warmup_steps as f64;
        }
        let after_warmup = steps - warmup_steps;
        let decay_steps = match decay_steps {
            0 => after_warmup,
            decay_steps => decay_steps.min(after_warmup),
        };
        let stable_until = steps - decay_steps;
        let done = (step - 1).saturating_sub(stable_until) as f64 / decay_steps as f64;
        learning_rate
            * match schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear(last) => 1.0 - (1.0 - last) * done,
                Schedule::Cosine(last) => {
                    last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Initializer, LinearConfig};
    use burn::optim::GradientsParams;
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn config(text: &str) -> OptimizerConfig {
        of_kind("sgd", text)
    }

    fn of_kind(kind: &str, text: &str) -> OptimizerConfig {
        let text = format!("[optimizer]\nkind = '{kind}'\n{text}");
        let mut document = text.parse().expect("valid TOML");
        let section = Section::take(&mut document, "optimizer").expect("a section");
        OptimizerConfig::from_section(section).expect("valid settings")
    }

    fn rates(text: &str, steps: usize) -> Vec<f64> {
        let config = config(text);
        (1..=steps)
            .map(|step| config.learning_rate(step, steps))
            .collect()
    }

    #[test]
    fn the_rate_warms_up_and_then_follows_its_schedule() {
        assert_eq!(rates("learning_rate = 0.5", 3), [0.5, 0.5, 0.5]);
        assert_eq!(
            rates("learning_rate = 1.0\nwarmup_steps = 4", 6),
            [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
        );
        let linear = rates(
            "learning_rate = 1.0\nwarmup_steps = 1\nschedule = { linear = 0.5 }",
            5,
        );
        assert_eq!(linear, [1.0, 1.0, 0.875, 0.75, 0.625]);
        let cosine = rates("learning_rate = 1.0\nschedule = { cosine = 0.2 }", 1000);
        assert_eq!(cosine[0], 1.0);
        assert!(
            (cosine[500] - 0.6).abs() < 1e-12,
            "half way is half way down: {}",
            cosine[500]
        );
        assert!((cosine[999] - 0.2).abs() < 1e-4);
        assert!(cosine.is_sorted_by(|a, b| a > b));
        let late = rates(
            "learning_rate = 1.0\nschedule = { linear = 0.0 }\ndecay_steps = 2",
            5,
        );
        assert_eq!(late, [1.0, 1.0, 1.0, 1.0, 0.5]);
    }

    #[test]
    fn weight_decay_is_a_gradient_for_all_but_adam_w_which_shrinks_weights() {
        // A gradient of 0, so that nothing but the decay moves the weight, which is 1.
        let after_an_update = |kind: &str, decay: &str| {
            let device = Device::flex().autodiff();
            let config = LinearConfig::new(1, 1).with_bias(false);
            let linear = config.with_initializer(Initializer::Ones).init(&device);
            let loss = linear.forward(Tensor::<2>::zeros([1, 1], &device)).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &linear);
            let mut optimizer = of_kind(kind, decay).init();
            let weight = optimizer.step(0.1, linear, gradients).weight;
            weight.val().into_scalar::<f32>()
        };
        for (kind, decay, expected) in [
            ("sgd", "", 1.0),
            ("sgd", "weight_decay = 0.5", 0.95),
            // Adam divides a gradient by its size: however small the penalty, the step is the learning rate.
            ("adam", "weight_decay = 0.5", 0.9),
            ("adam", "weight_decay = 0.001", 0.9),
            ("adam-w", "weight_decay = 0.5", 0.95),
            ("adam-w", "", 1.0),
        ] {
            let weight = after_an_update(kind, decay);
            assert!(
                (weight - expected).abs() < 1e-4,
                "{kind}, {decay}: {weight}, not {expected}"
            );
        }
    }
}
