//! One step of the cell, on rows of hidden units, forward and backward.

use macerator::{Simd, Vector};

use super::lanes::{
    Real, activated, in_fours, load, log_sigmoid, sigmoid, sigmoid_slope, splat, store, tanh_slope,
    times_slope,
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
    /// c_{t-1} of an LSTM; of an sLSTM with n and m behind it, as rows.
    pub(crate) prev_carry: *const T,
    /// c_t of an LSTM, or of an sLSTM with n and m; of a GRU what the state gives to the new gate; of an Elman network not used.
    pub(crate) carry: *mut T,
    pub(crate) candidate: *mut T,
}

/// ```text
/// LSTM:  c = σ(f) c_prev + σ(i) tanh(g)      ĥ = σ(o) tanh(c)                     gates i, f, g, o
/// sLSTM: c = f' c_prev + i' tanh(z)          ĥ = σ(o) c / n                       gates i, f, z, o; n and m: see `slstm`
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
                CellKind::SLstm => {
                    let carried =
                        |index: usize| load::<S, T>(rows.prev_carry.add(index * width + lane));
                    let SLstm {
                        gates,
                        carry,
                        candidate,
                    } = slstm::<S, T>([0, 1, 2, 3].map(sum), [0, 1, 2].map(carried));
                    for (gate, value) in gates.into_iter().enumerate() {
                        keep(gate, value);
                    }
                    for (index, value) in carry.into_iter().enumerate() {
                        store::<S, T>(rows.carry.add(index * width + lane), value);
                    }
                    store::<S, T>(rows.candidate.add(lane), candidate);
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

/// What a step of an sLSTM yields.
struct SLstm<S: Simd, T: Real> {
    /// i', f as it came, z and σ(o).
    gates: [Vector<S, T>; 4],
    /// c, n and m.
    carry: [Vector<S, T>; 3],
    candidate: Vector<S, T>,
}

/// ```text
/// m = max(log σ(f) + m_prev, i)        i alone, where n_prev is 0: nothing was written yet
/// i' = exp(i - m)     f' = exp(log σ(f) + m_prev - m)
/// c = f' c_prev + i' tanh(z)     n = f' n_prev + i'     ĥ = σ(o) c / n
/// ```
#[inline(always)]
fn slstm<S: Simd, T: Real>(
    [i, f, z, o]: [Vector<S, T>; 4],
    [prev_c, prev_n, prev_m]: [Vector<S, T>; 3],
) -> SLstm<S, T> {
    let half = splat::<S, T>(T::of(0.5));
    let kept = kept_of::<S, T>(f, prev_n, prev_m);
    let m = kept.le(i).select(i, kept);
    let [i, share] = T::exp_each::<S, 2>([i - m, kept - m]);
    let [z, o] = T::tanh_each::<S, 2>([z, o * half]);
    let o = o.mul_add(half, half);
    let c = share.mul_add(prev_c, i * z);
    let n = share.mul_add(prev_n, i);
    SLstm {
        gates: [i, f, z, o],
        carry: [c, n, m],
        candidate: o * c / n,
    }
}

/// `log σ(f) + m_prev`, of which nothing is left where nothing was written yet.
#[inline(always)]
fn kept_of<S: Simd, T: Real>(
    f: Vector<S, T>,
    prev_n: Vector<S, T>,
    prev_m: Vector<S, T>,
) -> Vector<S, T> {
    let [zero, nothing] = [T::zero(), T::neg_infinity()].map(|number| splat::<S, T>(number));
    let [log, _] = log_sigmoid::<S, T>(f);
    prev_n.eq(zero).select(nothing, log + prev_m)
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
            CellKind::SLstm => {
                let [zero, one] = [T::zero(), T::one()].map(|number| splat::<S, T>(number));
                for lane in row.starts() {
                    let [i, f, z, o] = [0, 1, 2, 3].map(|index| gate(index, lane));
                    let of =
                        |rows: *const T, index: usize| load::<S, T>(rows.add(index * width + lane));
                    let [prev_c, prev_n, prev_m] = [0, 1, 2].map(|at| of(rows.prev_carry, at));
                    let [c, n, m] = [0, 1, 2].map(|at| of(rows.carry, at));
                    let [of_c, of_n, of_m] = [0, 1, 2].map(|at| of(rows.carried, at));
                    let slope = load::<S, T>(rows.candidate.add(lane));
                    let [_, forgotten] = log_sigmoid::<S, T>(f);
                    let f = T::exp_lanes::<S>(kept_of::<S, T>(f, prev_n, prev_m) - m);
                    let (share, mean) = (one / n, c / n);
                    let of_mean = slope * o;
                    let of_c = of_mean.mul_add(share, of_c);
                    let of_n = of_n - of_mean * mean * share;
                    let of_input = of_c.mul_add(z, of_n) * i;
                    let of_kept = of_c.mul_add(prev_c, of_n * prev_n) * f;
                    let of_m = of_m - of_input - of_kept;
                    // m is what was kept where f' is 1, else the input.
                    let is_kept = one.le(f);
                    let through_kept = of_kept + is_kept.select(of_m, zero);
                    let through_input = of_input + one.le(f).select(zero, of_m);
                    of_gate(0, lane, through_input);
                    of_gate(1, lane, through_kept * forgotten);
                    of_gate(2, lane, of_c * i * tanh_slope(z));
                    of_gate(3, lane, slope * mean * sigmoid_slope(o));
                    for (index, slope) in [of_c * f, of_n * f, through_kept].into_iter().enumerate()
                    {
                        store::<S, T>(rows.carried.add(index * width + lane), slope);
                    }
                    store::<S, T>(rows.hidden.add(lane), zero);
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
