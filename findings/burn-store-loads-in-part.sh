#!/usr/bin/env bash
# burn-store 0.22.1: a file that fits in part is loaded in part. Where the shape of one parameter is wrong there is an error, and the others have been replaced
# all the same; with `allow_partial`, a file in which no name fits loads nothing and is no error; and numbers of another type change the type of the parameter.
# Seen: of a linear map from 4 into which one from 3 is loaded, an error and the bias of the file; of a file whose only names lie below another field, Ok; of a
# file in double precision, parameters in double precision.
features='"autodiff", "flex", "optim", "rayon", "safetensors", "simd"'
source "$(dirname "$0")/burn.sh"

expect 'wrong shape: error, bias replaced; no name fits: ok, nothing applied; f64 in the file: F64 in the module' <<'RUST'
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{DType, Device};

#[derive(Module, Debug)]
struct One {
    one: Linear,
}

#[derive(Module, Debug)]
struct Other {
    other: Linear,
}

fn file<M: Module>(module: &M) -> SafetensorsStore {
    let mut store = SafetensorsStore::from_bytes(None);
    module.save_into(&mut store).expect("it can be saved");
    SafetensorsStore::from_bytes(Some(store.get_bytes().expect("it was saved")))
}

fn main() {
    let device = Device::flex();
    let linear = |d_input| LinearConfig::new(d_input, 2).init(&device);
    let bias = |linear: &Linear| linear.bias.as_ref().expect("it has one").val().to_data();

    let (saved, mut module) = (linear(3), linear(4));
    let shape = match module.load_from(&mut file(&saved)) {
        Ok(_) => "ok",
        Err(_) => "error",
    };
    let replaced = match bias(&module) == bias(&saved) {
        true => "replaced",
        false => "kept",
    };

    let mut module = Other { other: linear(3) };
    let mut store = file(&One { one: linear(3) }).allow_partial(true);
    let partial = match module.load_from(&mut store) {
        Ok(result) if result.applied.is_empty() => "ok, nothing applied",
        Ok(_) => "ok, something applied",
        Err(_) => "error",
    };

    let mut saved = linear(3);
    saved.weight = saved.weight.map(|weight| weight.cast(DType::F64));
    let mut module = linear(3);
    let _ = module.load_from(&mut file(&saved));
    let dtype = module.weight.val().dtype();
    println!(
        "wrong shape: {shape}, bias {replaced}; no name fits: {partial}; f64 in the file: {dtype:?} in the module"
    );
}
RUST
