//! Memories that grow step by step, with their keys, on the CPU and without a graph.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, Problem, Stored};
use super::{CellKind, Options, Score, Scoring};
use crate::ops::Spans;
use crate::ops::cpu::{Real, SharedMut, Written, arch};
use crate::ops::operation::{Source, Sources, contiguous, primitive, view_of};

/// The memories of every sample, with room for more, so that one more is not a copy of all, and their keys, so that these are computed once.
///
/// What it holds of memories is what a state shows of them; and it counts only as long as the weight of the keys is what it was.
#[derive(Clone, Debug)]
pub(crate) struct MemoryStore {
    /// `[batch_size, room, d_hidden]`
    values: FlexTensor,
    /// `[batch_size, room, key_width]`
    keys: FlexTensor,
    /// Which memories are kept, those of the sample that has most of them.
    first: usize,
    end: usize,
    /// What the keys were computed with, and for.
    w_key: Source,
    score: Score,
}

/// What a step alone yields, beside the store.
pub(crate) struct Recalled {
    /// h, `[batch_size, d_hidden]`.
    pub(crate) hidden: Tensor<2>,
    /// s, likewise.
    pub(crate) summary: Tensor<2>,
    /// The memories that are kept, `[batch_size, n, d_hidden]`.
    pub(crate) memories: Option<Tensor<3>>,
    pub(crate) store: MemoryStore,
}

/// What a step alone begins with.
pub(crate) struct Recalling<'a> {
    /// ĥ, `[batch_size, d_hidden]`.
    pub(crate) candidate: Tensor<2>,
    pub(crate) memories: Option<Tensor<3>>,
    pub(crate) store: Option<MemoryStore>,
    /// How many memories each sample has.
    pub(crate) counts: &'a [usize],
    pub(crate) scoring: &'a Scoring,
    pub(crate) options: &'a Options,
    /// Whether h is to be stored.
    pub(crate) is_stored: bool,
}

impl Recalling<'_> {
    /// From ĥ to h and s, of what the samples remember.
    ///
    /// # Panics
    /// If a tensor is not on flex without a graph, in f32 or f64.
    #[track_caller]
    pub(crate) fn run(self) -> Recalled {
        match self.candidate.dtype() {
            DType::F32 => self.run_in::<f32>(),
            _ => self.run_in::<f64>(),
        }
    }

    fn run_in<T: Real>(self) -> Recalled {
        let [batch_size, d_hidden] = self.candidate.dims();
        let (scoring, options) = (self.scoring, self.options);
        let candidate = contiguous(self.candidate);
        let query = contiguous(scoring.query.clone());
        let key = contiguous(scoring.key.clone());
        let nothing = || FlexTensor::from_data(TensorData::new(Vec::<T>::new(), [0]));
        let v = scoring.v.clone().map_or_else(nothing, contiguous);
        let views = [view_of::<T>(&query), view_of(&key), view_of(&v)];
        let sources = Sources::new(&views, true);
        let spans = Spans::of_batch(batch_size, 1);
        let problem = Problem {
            spans: &spans,
            d_hidden,
            d_attention: scoring.query.dims()[1],
            // No cell takes part.
            kind: CellKind::Lstm,
            score: scoring.score,
            options,
            first_step: 0,
            yields_summary: true,
            projected: &[],
            hidden: &[],
            cell: &[],
            memories: &[],
            w_hidden: &[],
            bias: &[],
            w_query: views[0].numbers,
            w_key: views[1].numbers,
            v: views[2].numbers,
        };
        let memories = self.memories;
        let is_same = |store: &MemoryStore| {
            store.score == scoring.score && store.is_of(memories.as_ref(), &key)
        };
        let mut store = match self.store.filter(is_same) {
            Some(store) => {
                // What shows them would keep them from being written to.
                drop(memories);
                store
            }
            None => MemoryStore::new(memories, &problem, &sources, &key),
        };
        if self.is_stored {
            store.make_room::<T>();
        }
        let most = options.max_memories.unwrap_or(usize::MAX);
        let counts: Vec<usize> = self.counts.iter().map(|count| most.min(*count)).collect();
        let numbers = batch_size * d_hidden;
        let mut results = Written::<T>::new(2 * numbers, true);
        let results = store.with_stored(&counts, |stored| {
            let candidates = view_of::<T>(&candidate).numbers;
            // SAFETY: the machine has these instructions; all of the results are written, and there is room for a memory.
            unsafe {
                let place = results.place();
                let is_stored = self.is_stored;
                cpu::recall_alone(
                    arch(),
                    &problem,
                    &sources,
                    stored,
                    is_stored,
                    candidates,
                    place,
                );
                results.finish()
            }
        });
        store.end += usize::from(self.is_stored);
        store.first = store.first.max(store.end.saturating_sub(most));
        let results = FlexTensor::from_data(TensorData::new(results, [2 * batch_size, d_hidden]));
        let results = Tensor::<2>::from_primitive::<Flex>(results);
        Recalled {
            hidden: results.clone().narrow(0, 0, batch_size),
            summary: results.narrow(0, batch_size, batch_size),
            memories: store.memories(),
            store,
        }
    }
}

impl MemoryStore {
    /// Memories at first.
    const LEAST_ROOM: usize = 16;

    fn new<T: Real>(
        memories: Option<Tensor<3>>,
        problem: &Problem<T>,
        sources: &Sources,
        w_key: &FlexTensor,
    ) -> Self {
        let batch_size = problem.spans.n_samples();
        let n = memories.as_ref().map_or(0, |memories| memories.dims()[1]);
        let room = Self::LEAST_ROOM.max(2 * n);
        let mut values = vec![T::zero(); batch_size * room * problem.d_hidden];
        if let Some(memories) = memories {
            let memories = contiguous(memories);
            let from = view_of::<T>(&memories).numbers;
            let (n, room) = (n * problem.d_hidden, room * problem.d_hidden);
            for (to, from) in values.chunks_exact_mut(room).zip(from.chunks_exact(n)) {
                to[..n].copy_from_slice(from);
            }
        }
        // SAFETY: the machine has these instructions.
        let keys = unsafe { cpu::keys(arch(), problem, sources, &values, n) };
        let tensor = |numbers: Vec<T>| {
            let width = numbers.len() / (batch_size * room);
            FlexTensor::from_data(TensorData::new(numbers, [batch_size, room, width]))
        };
        MemoryStore {
            values: tensor(values),
            keys: tensor(keys),
            first: 0,
            end: n,
            w_key: Source::new(w_key),
            score: problem.score,
        }
    }

    fn room(&self) -> usize {
        self.values.shape()[1]
    }

    /// Whether these memories are what it shows of itself, and the keys are of that weight.
    fn is_of(&self, memories: Option<&Tensor<3>>, w_key: &FlexTensor) -> bool {
        if !self.w_key.is(w_key) {
            return false;
        }
        let (Some(memories), Some(own)) = (memories.cloned(), self.memories()) else {
            return memories.is_none() && self.first == self.end;
        };
        let [memories, own] = [memories, own].map(primitive);
        Arc::ptr_eq(&memories.data_arc(), &own.data_arc())
            && memories.layout().shape() == own.layout().shape()
            && memories.layout().strides() == own.layout().strides()
            && memories.layout().start_offset() == own.layout().start_offset()
    }

    /// Those that are kept, where they lie.
    fn memories(&self) -> Option<Tensor<3>> {
        let n = self.end - self.first;
        let all = || Tensor::<3>::from_primitive::<Flex>(self.values.clone());
        (n > 0).then(|| all().narrow(1, self.first, n))
    }

    /// Room for one more memory: where there is none, those that are kept go to the beginning of a room twice as large as they need.
    fn make_room<T: Real>(&mut self) {
        if self.end < self.room() {
            return;
        }
        let n = self.end - self.first;
        let (old, room) = (self.room(), Self::LEAST_ROOM.max(2 * n));
        for tensor in [&mut self.values, &mut self.keys] {
            let [batch_size, width] = [0, 2].map(|dimension| tensor.shape()[dimension]);
            let mut numbers = vec![T::zero(); batch_size * room * width];
            let from = tensor.storage::<T>();
            for sample in 0..batch_size {
                let kept = &from[(sample * old + self.first) * width..][..n * width];
                numbers[sample * room * width..][..n * width].copy_from_slice(kept);
            }
            *tensor = FlexTensor::from_data(TensorData::new(numbers, [batch_size, room, width]));
        }
        (self.first, self.end) = (0, n);
    }

    /// Calls `work` with what is stored, to be written to.
    fn with_stored<T: Real, R>(
        &mut self,
        counts: &[usize],
        work: impl FnOnce(Stored<T>) -> R,
    ) -> R {
        let room = self.room();
        work(Stored {
            values: SharedMut::new(self.values.storage_mut::<T>().as_mut_ptr()),
            keys: SharedMut::new(self.keys.storage_mut::<T>().as_mut_ptr()),
            room,
            end: self.end,
            counts,
        })
    }
}
