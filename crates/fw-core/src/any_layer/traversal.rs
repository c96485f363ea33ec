//! Visitors and mappers of parameters behind a table of functions: Burn's own are generic in the rank of a tensor.

use alloc::boxed::Box;
use core::any::Any;

use burn::module::{Flag, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};

/// Does something with a parameter of whatever rank it has, from 1 to 5, which is the most that a layer of Burn has.
macro_rules! by_rank {
    ($kind:ty, $parameter:ident, $downcast:ident, $do:expr) => {
        by_rank!(@ $kind, $parameter, $downcast, $do, 1, 2, 3, 4, 5)
    };
    (@ $kind:ty, $parameter:ident, downcast_ref, $do:expr, $($rank:literal),*) => {$(
        if let Some(parameter) = $parameter.downcast_ref::<Param<Tensor<$rank, $kind>>>() {
            return $do(parameter);
        }
    )*};
    (@ $kind:ty, $parameter:ident, downcast, $do:expr, $($rank:literal),*) => {
        let parameter = $parameter;
        $(
            let parameter = match parameter.downcast::<Param<Tensor<$rank, $kind>>>() {
                Ok(parameter) => return Box::new($do(*parameter)),
                Err(other) => other,
            };
        )*
        drop(parameter);
    };
}

const RANKS: &str = "a parameter of an AnyLayer must have between 1 and 5 dimensions";

/// A [`ModuleVisitor`] whose type is not known.
pub(super) trait AnyVisitor {
    fn float(&mut self, parameter: &dyn Any);
    fn int(&mut self, parameter: &dyn Any);
    fn bool(&mut self, parameter: &dyn Any);
    fn flag(&mut self, flag: &Param<Flag>);
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

impl<V: ModuleVisitor> AnyVisitor for V {
    fn float(&mut self, parameter: &dyn Any) {
        by_rank!(burn::tensor::Float, parameter, downcast_ref, |p| self
            .visit_float(p));
        panic!("{RANKS}");
    }

    fn int(&mut self, parameter: &dyn Any) {
        by_rank!(Int, parameter, downcast_ref, |p| self.visit_int(p));
        panic!("{RANKS}");
    }

    fn bool(&mut self, parameter: &dyn Any) {
        by_rank!(Bool, parameter, downcast_ref, |p| self.visit_bool(p));
        panic!("{RANKS}");
    }

    fn flag(&mut self, flag: &Param<Flag>) {
        self.visit_flag(flag);
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.exit_module(name, container);
    }
}

/// What a module is visited with in the name of an [`AnyVisitor`].
pub(super) struct Visitor<'a>(pub &'a mut dyn AnyVisitor);

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.float(param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.int(param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.0.bool(param);
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.0.flag(flag);
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit(name, container_type);
    }
}

/// A [`ModuleMapper`] whose type is not known.
pub(super) trait AnyMapper {
    fn float(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any>;
    fn int(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any>;
    fn bool(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any>;
    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag>;
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

impl<M: ModuleMapper> AnyMapper for M {
    fn float(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any> {
        by_rank!(burn::tensor::Float, parameter, downcast, |p| self
            .map_float(p));
        panic!("{RANKS}");
    }

    fn int(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any> {
        by_rank!(Int, parameter, downcast, |p| self.map_int(p));
        panic!("{RANKS}");
    }

    fn bool(&mut self, parameter: Box<dyn Any>) -> Box<dyn Any> {
        by_rank!(Bool, parameter, downcast, |p| self.map_bool(p));
        panic!("{RANKS}");
    }

    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.map_flag(flag)
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.exit_module(name, container);
    }
}

/// What a module is mapped with in the name of an [`AnyMapper`].
pub(super) struct Mapper<'a>(pub &'a mut dyn AnyMapper);

const SAME_TYPE: &str = "what is mapped keeps its type";

impl ModuleMapper for Mapper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        *self.0.float(Box::new(param)).downcast().expect(SAME_TYPE)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        *self.0.int(Box::new(param)).downcast().expect(SAME_TYPE)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        *self.0.bool(Box::new(param)).downcast().expect(SAME_TYPE)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.flag(flag)
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit(name, container_type);
    }
}
