"""The job of a recurrence: all that its kernels are told, in one array of 64-bit words.

B batch, T time, I input, H hidden, G gates, W of them whole and Q split (the step sees both halves), the others of the
input alone, S states, V learned vectors.  P numbers of hidden state go from one step to the next: P = H, unless a
projection makes them fewer.

All steps of all sequences are rows of matrices, step by step, and within a step the rows that are alive: N rows,
T * B if all sequences are as long.  Sequences are sorted, longest first, so that the rows of a step are the first of
those of the step before.  This is the layout of a PackedSequence; a dense (T, B, I) is the same memory.

STRIDED, arrays of any strides, as the caller has them (0 for None):

    w_ih (G*H, I)   b_ih (G*H,)   w_hh ((W+Q)*H, P)   b_hh ((W+Q)*H,)   w_hr (P, H), which projects the hidden state

ARRAYS, contiguous:

    kept, spare     memory for what KEPT and SPARE list
    zeros           as many as the longest row
    sizes           (T,) int64, the number of rows of each step, which does not increase
    offsets         (T + 1,) int64, the first row of each step
    firsts          (B,) int64, the row of each sequence's first step
    cuts            (parts + 1,) int64, the sequences that each thread takes
    inputs          (N, I), x
    vectors         (V, H), the learned vectors
    zone_carried    (N, P), how much of the hidden state zoneout keeps, from 0 to 1; zone_states (S-1, N, H), of the
                    other states; with zone_row = 0 instead of 1 there is one row of each, for all N
    drop            (B, P), the factors of the hidden state that recurrent dropout has
    out             (N, P), the hidden state after each step
    last            (S-1, B, H), the other states after the last step of each sequence; last_carried (B, P), the first
    d_out           the gradient of out; the rows of step t begin d_offsets[t] bytes from here, d_out_row bytes apart
    d_carried       (B, P), and d_states (S-1, B, H): the gradients of the states, from step to step
    d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr, d_vectors_sum (V, H)      gradients, in the shapes of the values

KEPT, by the forward for the backward:

    gates           (N, G*H), pre-activations: whole gates, then of split ones the half that comes from x, then those
                    of the input alone
    hidden          (N, Q*H), the other half of the split gates; both are (turns * B, .) if not `lasting`
    carried         (N, P), the hidden state before the step
    entering        (N, P), the same as it enters the product with w_hh: with recurrent dropout; else it is `carried`
    states          (S-1, N, H), the other states before the step
    full            (N, H), with a projection, h after the step

SPARE, memory for one call; the weights are packed in strips for `product` (cell_driver.py):

    w_x, w_x_split, w_h, w_h_split, w_r        of x, of the hidden state, and the projection; `split` those of all but
                                               whole gates, but w_x is of all if it is multiplied `ahead`; the backward
                                               packs w_h, w_h_split and w_r transposed
    bias (G*H,), bias_split (Q*H,)             the sums of both biases, and b_hh of the split gates
    d_gates, d_hidden, d_projected             the gradients of a chunk's gates, hidden and out, a row for each row
    d_full (B, H), d_vectors (B, V, H)         the gradients of full, and of the vectors by sequence
    d_entering (B, P)                          with recurrent dropout, the gradient of entering
    scratch (parts, ., H)                      what a cell with means keeps from one loop over the units to the next
"""

from __future__ import annotations

from collections import namedtuple
from types import ModuleType

# A job begins as its plan made it: places within the arrays `kept` and `spare`, and numbers.  The arrays come as the
# identities in a tuple, those of the initial states (or of the gradients of the last ones) first and then the strided
# and the others in this order; the driver writes down the former's and the strided ones' identities and the others'
# addresses.
STRIDED = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
ARRAYS = (
    "kept", "spare", "zeros", "sizes", "offsets", "firsts", "cuts", "inputs", "vectors",
    "zone_carried", "zone_states", "drop", "out", "last", "last_carried", "d_out", "d_offsets", "d_carried",
    "d_states", "d_x", "d_w_ih", "d_w_hh", "d_b_ih", "d_b_hh", "d_w_hr", "d_vectors_sum",
)  # fmt: skip
KEPT = ("gates", "hidden", "carried", "entering", "states", "full")
SPARE = (
    "w_x", "w_x_split", "w_h", "w_h_split", "w_r", "bias", "bias_split", "d_gates", "d_hidden", "d_projected", "d_full",
    "d_vectors", "d_entering", "scratch",
)  # fmt: skip
NUMBERS = (
    "T", "B", "N", "I", "P", "H",
    "reverse",  # whether the last step comes first
    "first_step", "first_row",  # the backward's chunk: its first step in the order of the walk, and its lowest row
    "block",  # rows that go through a step at a time
    "spread",  # whether each product is divided among threads, instead of the sequences
    "d_out_row",
    "columns", "whole", "halves",  # G*H, of them W*H and Q*H
    "fused",  # whether x is multiplied together with the hidden state, in each step
    "ahead",  # else, of how many steps at a time within the loop; 0 if of all steps before it
    "turns",  # how many steps' gates there is room for, if they are not `lasting`
    "single",  # whether there is but one step: its products come before or after the loop, with the weights as they lie
    "lasting",  # whether each step has its own gates; else nobody wants them afterwards
    "states_count", "vectors_count",
    "zone_row",
    "apart",  # whether the caller makes the weights' gradients, of d_gates, d_hidden and d_projected
    "chunk",  # rows of which the backward keeps the gates' gradients at a time
    "none",  # the identity of None
)  # fmt: skip
Words = namedtuple("Words", [*STRIDED, *ARRAYS, *KEPT, *SPARE, *NUMBERS, "initial"])  # and one more for each state
AT = ModuleType("AT")  # where each word is, in bytes; a module's numbers are constants to Numba
vars(AT).update({name: 8 * k for k, name in enumerate(Words._fields)})
