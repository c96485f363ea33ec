//! What kernels make of weights before they use them, kept for the next call with the same weights.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::View;

/// The type in which flex keeps the numbers of a tensor.
type Numbers = burn::tensor::Bytes;

/// Something that was made of weights, and what it was made of.
struct Entry {
    sources: Vec<Source>,
    value: Arc<dyn Any + Send + Sync>,
}

/// A contiguous tensor, as long as it is there and nothing is written to it: a weak reference is to memory that is not used for anything else, and flex
/// writes to memory that others refer to only after it has moved the numbers elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    numbers: Weak<Numbers>,
    first: usize,
    shape: Shape,
}

impl Source {
    pub(crate) fn new(tensor: &FlexTensor) -> Self {
        Source {
            numbers: Arc::downgrade(&tensor.data_arc()),
            first: tensor.layout().start_offset(),
            shape: tensor.shape(),
        }
    }

    /// Whether it is this tensor, as it was.
    pub(crate) fn is(&self, tensor: &FlexTensor) -> bool {
        place(tensor) == self.numbers.as_ptr()
            && self.first == tensor.layout().start_offset()
            && self.shape == tensor.shape()
    }

    fn is_there(&self) -> bool {
        self.numbers.strong_count() > 0
    }
}

fn place(tensor: &FlexTensor) -> *const Numbers {
    Arc::as_ptr(&tensor.data_arc())
}

/// Of a first source and of how many, what is made, and in which variant.
type Key = (usize, usize, TypeId, u64);

static ALL: LazyLock<Mutex<HashMap<Key, Entry>>> = LazyLock::new(Mutex::default);

/// The weights that a pass reads.
#[derive(Clone, Debug)]
pub(crate) struct Sources<'a> {
    tensors: Vec<&'a FlexTensor>,
    /// Whether the same are likely to be read again: not in training, where each update writes others.
    are_kept: bool,
}

impl<'a> Sources<'a> {
    /// Those that are there. With `are_kept`, what is made of them is kept for the next pass.
    pub(crate) fn new<T>(views: &[View<'a, T>], are_kept: bool) -> Self {
        let tensors = views.iter().map(|view| view.tensor);
        let is_there = |tensor: &&FlexTensor| tensor.shape().num_elements() > 0;
        Sources {
            tensors: tensors.filter(is_there).collect(),
            are_kept,
        }
    }

    /// What `make` makes of them: what it has made before, if they are as they were then. `variant` tells apart what is made of the same
    /// weights in different ways. It is kept until the weights are gone or written to, and something new is made.
    pub(crate) fn prepared<P: Any + Send + Sync>(
        &self,
        variant: u64,
        make: impl FnOnce() -> P,
    ) -> Arc<P> {
        match self.are_kept {
            true => prepared(&self.tensors, variant, make),
            false => Arc::new(make()),
        }
    }
}

/// [`Sources::prepared`] of tensors of which there is one at least.
fn prepared<P: Any + Send + Sync>(
    sources: &[&FlexTensor],
    variant: u64,
    make: impl FnOnce() -> P,
) -> Arc<P> {
    let first = place(sources[0]).addr();
    let key = (first, sources.len(), TypeId::of::<P>(), variant);
    let lock = || ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lock().get(&key).and_then(|entry| {
        let mut pairs = entry.sources.iter().zip(sources);
        let is_same = pairs.all(|(source, tensor)| source.is(tensor));
        is_same.then(|| entry.value.clone())
    });
    if let Some(value) = found.and_then(|value| value.downcast().ok()) {
        return value;
    }
    let value = Arc::new(make());
    let entry = Entry {
        sources: sources.iter().map(|tensor| Source::new(tensor)).collect(),
        value: value.clone(),
    };
    let mut all = lock();
    all.retain(|_, entry| entry.sources.iter().all(Source::is_there));
    all.insert(key, entry);
    value
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    fn tensor(numbers: &[f32]) -> FlexTensor {
        FlexTensor::from_data(TensorData::from(numbers))
    }

    /// A type of this test's own, so that no other test makes the same.
    struct Sum(f32);

    fn sum(tensors: &[&FlexTensor], variant: u64) -> Arc<Sum> {
        prepared(tensors, variant, || {
            let numbers = tensors.iter().flat_map(|tensor| tensor.storage::<f32>());
            Sum(numbers.sum())
        })
    }

    #[test]
    fn what_was_made_of_weights_is_used_again_until_they_change() {
        let mut one = tensor(&[1.0, 2.0]);
        let other = tensor(&[3.0]);
        let first = sum(&[&one, &other], 0);
        assert_eq!(first.0, 6.0);
        assert!(Arc::ptr_eq(&first, &sum(&[&one.clone(), &other], 0)));
        assert!(!Arc::ptr_eq(&first, &sum(&[&one, &other], 1)));
        assert_eq!(sum(&[&one, &tensor(&[5.0])], 0).0, 8.0);
        // The same numbers as rows of another length are other weights.
        let rows = one.reshape(Shape::new([2, 1]));
        assert!(!Arc::ptr_eq(&sum(&[&rows], 2), &sum(&[&one], 2)));
        // What is made of some of them is not what is made of all.
        assert_eq!(sum(&[&one], 0).0, 3.0);
        assert_eq!(sum(&[&one, &other], 0).0, 6.0);

        one.storage_mut::<f32>()[0] = 10.0;
        assert_eq!(sum(&[&one, &other], 0).0, 15.0);
    }

    #[test]
    fn what_was_made_of_weights_that_are_gone_is_let_go() {
        let weights = tensor(&[1.0]);
        let kept = Arc::downgrade(&sum(&[&weights], 7));
        assert!(kept.upgrade().is_some());
        drop(weights);
        let others = tensor(&[2.0]);
        sum(&[&others], 7);
        assert!(kept.upgrade().is_none());
    }
}
