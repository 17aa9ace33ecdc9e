//! What the count of instructions is judged by; benchmarks run no tests.

#[path = "../../benches/instructions/change.rs"]
mod change;

use change::Change::{Fallen, Grown, Tolerated};
use change::{Change, percent};

#[test]
fn only_growth_beyond_the_tolerance_is_a_fault() {
    let of = |count| Change::of(percent(count, 200.0), 3.0);
    assert_eq!([1.0, 193.0].map(of), [Fallen; 2]);
    assert_eq!([195.0, 200.0, 205.0].map(of), [Tolerated; 3]);
    assert_eq!([207.0, 400.0].map(of), [Grown; 2]);
}
