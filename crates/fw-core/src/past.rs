//! Rows that a state keeps of its samples' past steps, which may differ in number.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use crate::{RecurrentState, StateError};

/// Chosen samples of rows `[batch_size, n, width]`: of each sample its first ones, `most` at most. Nothing, if there are none.
pub(crate) fn select_past(
    past: Option<Tensor<3>>,
    samples: &[usize],
    most: usize,
) -> Option<Tensor<3>> {
    past.filter(|_| most > 0).map(|past| {
        let n = past.dims()[1].min(most);
        past.select_samples(samples).narrow(1, 0, n)
    })
}

/// The rows of several states, each with its number of samples, one state after another. Behind those of a sample that has fewer stand zeros.
pub(crate) fn cat_past(
    pasts: Vec<(Option<Tensor<3>>, usize)>,
) -> Result<Option<Tensor<3>>, StateError> {
    let there = pasts.iter().filter_map(|(past, _)| past.as_ref());
    let longest = there.max_by_key(|past| past.dims()[1]).cloned();
    let past = longest.map(|like| {
        let [_, most, width] = like.dims();
        let zeros =
            |batch_size, n| Tensor::zeros([batch_size, n, width], (&like.device(), like.dtype()));
        let of = |(past, batch_size): (Option<Tensor<3>>, usize)| match past {
            None => zeros(batch_size, most),
            Some(past) => match most - past.dims()[1] {
                0 => past,
                n => Tensor::cat(vec![past, zeros(batch_size, n)], 1),
            },
        };
        RecurrentState::cat_samples(pasts.into_iter().map(of).collect())
    });
    past.transpose()
}

/// Steps of the sample that has done most.
///
/// # Errors
/// Unless there is a number for each sample of a batch, of which none is too large to be counted on.
pub(crate) fn check_steps(steps: &[usize], batch_size: usize) -> Result<usize, StateError> {
    const MOST: usize = usize::MAX / 2;
    let most = most_steps(steps);
    if most > MOST {
        return Err(StateError::new(format!(
            "the state's step is {most}; it must be at most {MOST}"
        )));
    }
    match steps.len() {
        n if n == batch_size => Ok(most),
        n => Err(StateError::new(format!(
            "the state has steps of {n} samples; the input has {batch_size}"
        ))),
    }
}

/// Steps of the sample that has done most.
pub(crate) fn most_steps(steps: &[usize]) -> usize {
    steps.iter().copied().max().unwrap_or(0)
}
