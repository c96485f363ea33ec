//! One step of the cell, on rows of hidden units, forward and backward.

use macerator::{Simd, Vector};

use super::lanes::{
    Real, activated, in_fours, load, sigmoid, sigmoid_slope, splat, store, tanh_slope, times_slope,
};
use super::rows::Row;
use crate::ops::CellKind;

/// The pointers of a step's rows.
#[derive(Clone, Copy)]
pub(crate) struct StepRows<T> {
    /// What the input gives to each gate; the gates, after the step.
    pub(crate) gates: *mut T,
    /// What the state gives to each gate.
    pub(crate) from_hidden: *const T,
    pub(crate) prev_hidden: *const T,
    /// c_{t-1} of an LSTM.
    pub(crate) prev_carry: *const T,
    /// c_t of an LSTM; of a GRU what the state gives to the new gate; of an Elman network not used.
    pub(crate) carry: *mut T,
    pub(crate) candidate: *mut T,
}

/// ```text
/// LSTM:  c = σ(f) c_prev + σ(i) tanh(g)      ĥ = σ(o) tanh(c)                     gates i, f, g, o
/// GRU:   n = tanh(n_x + σ(r) n_h)            ĥ = n + σ(u) (h_prev - n)            gates u, r, n
/// Elman: ĥ = f(x)                                                                 gate x
/// ```
///
/// # Safety
/// The rows must have the row's width, gates that of all gates; the caller must be compiled with the instructions of S.
#[inline(always)]
pub(crate) unsafe fn step<S: Simd, T: Real>(kind: CellKind, row: Row, rows: StepRows<T>) {
    let width = row.width;
    for lane in row.starts() {
        // SAFETY: as the caller promises.
        unsafe {
            let at = |gate: usize| gate * width + lane;
            let from_input = |gate| load::<S, T>(rows.gates.add(at(gate)));
            let from_hidden = |gate| load::<S, T>(rows.from_hidden.add(at(gate)));
            let sum = |gate| from_input(gate) + from_hidden(gate);
            let keep = |gate, value| store::<S, T>(rows.gates.add(at(gate)), value);
            match kind {
                CellKind::Lstm => {
                    // σ(x) = (1 + tanh(x / 2)) / 2
                    let half = splat::<S, T>(T::of(0.5));
                    let [i, f, g, o] =
                        T::tanh_each::<S, 4>([sum(0) * half, sum(1) * half, sum(2), sum(3) * half]);
                    let (i, f) = (i.mul_add(half, half), f.mul_add(half, half));
                    let o = o.mul_add(half, half);
                    let prev = load::<S, T>(rows.prev_carry.add(lane));
                    let c = f.mul_add(prev, i * g);
                    store::<S, T>(rows.carry.add(lane), c);
                    store::<S, T>(rows.candidate.add(lane), o * T::tanh_lanes::<S>(c));
                    keep(0, i);
                    keep(1, f);
                    keep(2, g);
                    keep(3, o);
                }
                CellKind::Gru => {
                    let (u, r) = (sigmoid(sum(0)), sigmoid(sum(1)));
                    let n_h = from_hidden(2);
                    let n = T::tanh_lanes::<S>(r.mul_add(n_h, from_input(2)));
                    let prev = load::<S, T>(rows.prev_hidden.add(lane));
                    store::<S, T>(rows.carry.add(lane), n_h);
                    store::<S, T>(rows.candidate.add(lane), u.mul_add(prev - n, n));
                    keep(0, u);
                    keep(1, r);
                    keep(2, n);
                }
                CellKind::Elman(activation) => {
                    let yielded = activated(activation, sum(0));
                    store::<S, T>(rows.candidate.add(lane), yielded);
                    keep(0, yielded);
                }
            }
        }
    }
}

/// The pointers of a step's rows in the backward pass.
#[derive(Clone, Copy)]
pub(crate) struct SlopeRows<T> {
    pub(crate) gates: *const T,
    pub(crate) prev_hidden: *const T,
    pub(crate) prev_carry: *const T,
    pub(crate) carry: *const T,
    /// Of ĥ_t.
    pub(crate) candidate: *const T,
    /// Of c_t; of c_{t-1}, after the step.
    pub(crate) carried: *mut T,
    /// Of what the state gave to each gate; what the input gave differs for a GRU.
    pub(crate) from_hidden: *mut T,
    pub(crate) from_input: *mut T,
    /// Of h_{t-1}, but for what goes through `from_hidden`.
    pub(crate) hidden: *mut T,
}

/// The gradients of [`step`].
///
/// # Safety
/// As for [`step`].
#[inline(always)]
pub(crate) unsafe fn step_back<S: Simd, T: Real>(kind: CellKind, row: Row, rows: SlopeRows<T>) {
    let width = row.width;
    // SAFETY: as the caller promises.
    unsafe {
        let gate = |index: usize, lane: usize| load::<S, T>(rows.gates.add(index * width + lane));
        let of_gate = |index: usize, lane: usize, slope: Vector<S, T>| {
            let at = index * width + lane;
            store::<S, T>(rows.from_hidden.add(at), slope);
            store::<S, T>(rows.from_input.add(at), slope);
        };
        match kind {
            CellKind::Lstm => in_fours!(row, |N, first| {
                let lane = |index: usize| first + index * row.lanes;
                let mut carries = [splat::<S, T>(T::zero()); N];
                for (index, carry) in carries.iter_mut().enumerate() {
                    *carry = load::<S, T>(rows.carry.add(lane(index)));
                }
                for (index, tanh_c) in T::tanh_each::<S, N>(carries).into_iter().enumerate() {
                    let lane = lane(index);
                    let (i, f) = (gate(0, lane), gate(1, lane));
                    let (g, o) = (gate(2, lane), gate(3, lane));
                    let slope = load::<S, T>(rows.candidate.add(lane));
                    let of_c = (slope * o)
                        .mul_add(tanh_slope(tanh_c), load::<S, T>(rows.carried.add(lane)));
                    let prev = load::<S, T>(rows.prev_carry.add(lane));
                    of_gate(0, lane, of_c * g * sigmoid_slope(i));
                    of_gate(1, lane, of_c * prev * sigmoid_slope(f));
                    of_gate(2, lane, of_c * i * tanh_slope(g));
                    of_gate(3, lane, slope * tanh_c * sigmoid_slope(o));
                    store::<S, T>(rows.carried.add(lane), of_c * f);
                    store::<S, T>(rows.hidden.add(lane), splat::<S, T>(T::zero()));
                }
            }),
            CellKind::Gru => {
                for lane in row.starts() {
                    let (u, r, n) = (gate(0, lane), gate(1, lane), gate(2, lane));
                    let slope = load::<S, T>(rows.candidate.add(lane));
                    let n_h = load::<S, T>(rows.carry.add(lane));
                    let prev = load::<S, T>(rows.prev_hidden.add(lane));
                    let of_n = (slope - slope * u) * tanh_slope(n);
                    of_gate(0, lane, slope * (prev - n) * sigmoid_slope(u));
                    of_gate(1, lane, of_n * n_h * sigmoid_slope(r));
                    store::<S, T>(rows.from_hidden.add(2 * width + lane), of_n * r);
                    store::<S, T>(rows.from_input.add(2 * width + lane), of_n);
                    store::<S, T>(rows.hidden.add(lane), slope * u);
                }
            }
            CellKind::Elman(activation) => {
                for lane in row.starts() {
                    let slope = load::<S, T>(rows.candidate.add(lane));
                    of_gate(0, lane, times_slope(activation, gate(0, lane), slope));
                    store::<S, T>(rows.hidden.add(lane), splat::<S, T>(T::zero()));
                }
            }
        }
    }
}
