//! Limits on gradients.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A limit on gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// No limit.
    None,
    /// All gradients are scaled down together when the norm of all of them exceeds this.
    Norm(f64),
    /// Each number is cut to ± this.
    Value(f64),
}

impl Clip {
    /// Limits the gradients. The norm is `gradient_norm` of the same gradients; it is only looked at
    /// when the limit is on the norm.
    pub fn apply<M: Module>(
        self,
        gradients: GradientsParams,
        norm: impl FnOnce(&GradientsParams) -> Tensor<1>,
        model: &M,
    ) -> GradientsParams {
        match self {
            Clip::None => gradients,
            Clip::Norm(limit) => {
                // A tensor all the way: nothing waits for the device.
                let factor = (norm(&gradients) + f64::from(f32::MIN_POSITIVE))
                    .recip()
                    .mul_scalar(limit)
                    .clamp_max(1.0);
                map_gradients(gradients, model, Rescale(factor))
            }
            Clip::Value(limit) => map_gradients(gradients, model, Cut(limit)),
        }
    }
}

/// The norm of all gradients together, `[1]`.
pub fn gradient_norm<M: Module>(gradients: &GradientsParams, model: &M) -> Tensor<1> {
    struct SquaredNorms<'a>(&'a GradientsParams, Vec<Tensor<1>>);
    impl ModuleVisitor for SquaredNorms<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.push(gradient.square().sum());
            }
        }
    }
    let mut visitor = SquaredNorms(gradients, Vec::new());
    model.visit(&mut visitor);
    Tensor::cat(visitor.1, 0).sum().sqrt()
}

/// A change of one gradient.
trait GradientMap {
    fn map<const D: usize>(&self, gradient: Tensor<D>) -> Tensor<D>;
}

struct Rescale(Tensor<1>);

impl GradientMap for Rescale {
    fn map<const D: usize>(&self, gradient: Tensor<D>) -> Tensor<D> {
        gradient * self.0.clone().unsqueeze()
    }
}

struct Cut(f64);

impl GradientMap for Cut {
    fn map<const D: usize>(&self, gradient: Tensor<D>) -> Tensor<D> {
        gradient.clamp(-self.0, self.0)
    }
}

fn map_gradients<M: Module>(
    gradients: GradientsParams,
    model: &M,
    map: impl GradientMap,
) -> GradientsParams {
    struct Visitor<G>(GradientsParams, G);
    impl<G: GradientMap> ModuleVisitor for Visitor<G> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, self.1.map(gradient));
            }
        }
    }
    let mut visitor = Visitor(gradients, map);
    model.visit(&mut visitor);
    visitor.0
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    /// A linear map whose gradients are all 3 (six weights) and 4 (three biases).
    fn gradients() -> (Linear, GradientsParams) {
        let device = Device::flex().autodiff();
        let model = LinearConfig::new(2, 3).init(&device);
        let weights = model.weight.val().sum() * 3.0;
        let biases = model.bias.as_ref().expect("a bias").val().sum() * 4.0;
        let gradients = GradientsParams::from_grads((weights + biases).backward(), &model);
        (model, gradients)
    }

    fn clipped(clip: Clip) -> (Vec<f32>, Vec<f32>) {
        let (model, gradients) = gradients();
        let norm = |gradients: &GradientsParams| gradient_norm(gradients, &model);
        let clipped = clip.apply(gradients, norm, &model);
        let bias = model.bias.as_ref().expect("a bias").id;
        let values = |tensor: Option<Vec<f32>>| tensor.expect("a gradient");
        (
            values(
                clipped
                    .get::<2>(model.weight.id)
                    .and_then(|g| g.try_into_vec_as().ok()),
            ),
            values(
                clipped
                    .get::<1>(bias)
                    .and_then(|g| g.try_into_vec_as().ok()),
            ),
        )
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let (model, gradients) = gradients();
        let norm = gradient_norm(&gradients, &model).into_scalar::<f32>();
        assert!((norm - (6.0_f32 * 9.0 + 3.0 * 16.0).sqrt()).abs() < 1e-5);
    }

    #[test]
    fn clipping_scales_all_gradients_alike_or_cuts_each_number() {
        assert_eq!(clipped(Clip::None), (vec![3.0; 6], vec![4.0; 3]));
        assert_eq!(clipped(Clip::Norm(100.0)), (vec![3.0; 6], vec![4.0; 3]));
        assert_eq!(clipped(Clip::Value(3.5)), (vec![3.0; 6], vec![3.5; 3]));
        let (weights, biases) = clipped(Clip::Norm(1.0));
        let norm: f32 = weights
            .iter()
            .chain(&biases)
            .map(|g| g * g)
            .sum::<f32>()
            .sqrt();
        assert!((norm - 1.0).abs() < 1e-5);
        assert!((weights[0] / biases[0] - 0.75).abs() < 1e-5);
    }
}
