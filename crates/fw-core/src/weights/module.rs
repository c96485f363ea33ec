//! The parameters of a module by name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::store::bridge;
use burn::store::burn_pack::Tensor as Deferred;
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

/// A parameter, as it is called.
pub(super) struct Parameter {
    /// Its path within the module. Which variant of an enum it is in is no part of that.
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: DType,
    /// Whether it is the matrix of a [`Linear`](burn::nn::Linear), whose rows are those of the input.
    pub is_linear: bool,
    tensor: Deferred,
}

impl Parameter {
    /// Its numbers.
    pub fn data(&self) -> TensorData {
        bridge::to_data(&self.tensor).expect("a tensor that was computed can be read")
    }
}

/// Where a walk through a module is.
#[derive(Default)]
struct Place {
    path: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.to_owned());
        }
        self.containers.push(container.to_owned());
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
        self.containers.pop();
    }

    fn name(&self) -> String {
        self.path.join(".")
    }
}

/// All parameters of a module, in its order: as the module has them, or as Burn saves them (a linear map in columns is turned then).
pub(super) fn parameters<M: Module>(module: &M, as_saved: bool) -> Vec<Parameter> {
    struct Collect {
        place: Place,
        as_saved: bool,
        found: Vec<Parameter>,
    }
    impl Collect {
        fn take(&mut self, tensor: impl FnOnce(String) -> Deferred) {
            let container = self.place.containers.last();
            let of_linear = container.is_some_and(|container| container == "Struct:Linear");
            let tensor = tensor(self.place.name());
            self.found.push(Parameter {
                is_linear: of_linear && tensor.name.ends_with("weight"),
                name: tensor.name.clone(),
                shape: tensor.shape.to_vec(),
                dtype: tensor.dtype,
                tensor,
            });
        }
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.place.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.place.exit(container);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = match self.as_saved {
                true => param.transform_for_save().val(),
                false => param.val(),
            };
            self.take(|name| bridge::from_tensor(&tensor, name, None));
        }

        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            self.take(|name| bridge::from_tensor(&param.val(), name, None));
        }

        fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
            self.take(|name| bridge::from_tensor(&param.val(), name, None));
        }
    }
    let mut collect = Collect {
        place: Place::default(),
        as_saved,
        found: Vec::new(),
    };
    module.visit(&mut collect);
    collect.found
}

/// The module with these numbers; what is not named stays as it is.
pub(super) fn with_numbers<M: Module>(
    module: M,
    numbers: BTreeMap<String, TensorData>,
    as_saved: bool,
) -> M {
    struct Put {
        place: Place,
        as_saved: bool,
        numbers: BTreeMap<String, TensorData>,
    }
    impl ModuleMapper for Put {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.place.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.place.exit(container);
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.numbers.remove(&self.place.name()) {
                Some(data) if self.as_saved => {
                    let (id, device) = (param.id, param.lazy_device());
                    let options = (&device, data.dtype());
                    let new = Tensor::from_data(data, options);
                    param.transform_for_load(new, id)
                }
                Some(data) => param.map(|tensor| {
                    let options = (&tensor.device(), data.dtype());
                    let new = Tensor::from_data(data, options);
                    new.set_require_grad(tensor.is_require_grad())
                }),
                None => param,
            }
        }

        fn map_bool<const D: usize>(
            &mut self,
            param: Param<Tensor<D, Bool>>,
        ) -> Param<Tensor<D, Bool>> {
            match self.numbers.remove(&self.place.name()) {
                Some(data) => param.map(|tensor| {
                    let options = (&tensor.device(), data.dtype());
                    Tensor::from_data(data, options)
                }),
                None => param,
            }
        }

        fn map_int<const D: usize>(
            &mut self,
            param: Param<Tensor<D, Int>>,
        ) -> Param<Tensor<D, Int>> {
            match self.numbers.remove(&self.place.name()) {
                Some(data) => param.map(|tensor| {
                    let options = (&tensor.device(), data.dtype());
                    Tensor::from_data(data, options)
                }),
                None => param,
            }
        }
    }
    module.map(&mut Put {
        place: Place::default(),
        as_saved,
        numbers,
    })
}
