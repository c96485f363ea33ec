//! What is asked of a model's parameters: how many there are, and which is no number any more.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Numbers that are learned: parameters but for those that are only kept.
pub fn learned_parameters<M: Module>(model: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0 += if value.is_require_grad() {
                value.shape().num_elements()
            } else {
                0
            };
        }
    }
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}

/// The path of the first parameter that holds a number which is not finite.
pub fn first_non_finite_parameter<M: Module>(model: &M) -> Option<String> {
    #[derive(Default)]
    struct Search {
        path: Vec<String>,
        found: Option<String>,
    }
    impl ModuleVisitor for Search {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // A sum is finite only if every number is.
            let sum = param.val().inner().abs().sum().into_scalar::<f32>();
            if self.found.is_none() && !sum.is_finite() {
                self.found = Some(self.path.join("."));
            }
        }
    }
    let mut search = Search::default();
    model.visit(&mut search);
    search.found
}
