//! Every operation alone, forward and backward, with the rate it works at: `cargo bench -p colormamba-bench`.
//!
//! Rates stand under "item/s" (floating-point operations) or "B/s", beside what this machine can do at most.

use candle_core::{DType, Device};
use colormamba_bench::{Case, Machine, Pass, Subject, Work, cases, loss_cases, measure_cases, other_cases};
use colormamba_ops::Node;
use colormamba_runner::system::memory;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::ALLOCATOR;

fn main() {
    memory::keep_freed_memory();
    // SAFETY: no other thread runs yet.
    unsafe { memory::set_threads(None) }.expect("threads start once");
    let Machine { flops, bytes } = Machine::measure();
    println!("this machine: {:.0} GFLOP/s in registers, {:.0} GB/s copied", flops / 1e9, bytes / 1e9);
    divan::main();
}

fn operations() -> Vec<Case> {
    let cases = cases().expect("the table of cases is well-formed");
    cases.into_iter().filter(|case| case.work().is_some()).chain(other_cases()).collect()
}

#[divan::bench(args = operations(), sample_count = 20, sample_size = 1)]
fn forward(bencher: Bencher, case: &Case) {
    run(bencher, case, Pass::Forward);
}

#[divan::bench(args = operations(), sample_count = 20, sample_size = 1)]
fn backward(bencher: Bencher, case: &Case) {
    run(bencher, case, Pass::Backward);
}

/// Value and gradient of every term, on pixels a second.
#[divan::bench(args = loss_cases(), sample_count = 20, sample_size = 1)]
fn losses(bencher: Bencher, case: &Case) {
    let (Ok(Subject::Whole { run }), Case::Loss { batch, side, .. }) =
        (Subject::new(case, &Device::Cpu, DType::F32), case)
    else {
        panic!("{case} cannot be set up")
    };
    bencher.counter(ItemsCount::new(batch * side * side)).bench_local(|| run().expect("the case fits"));
}

/// Image quality measures on one thread, on pairs of images a second.
#[divan::bench(args = measure_cases(), sample_count = 20, sample_size = 1)]
fn measures(bencher: Bencher, case: &Case) {
    let Ok(Subject::Whole { run }) = Subject::new(case, &Device::Cpu, DType::F32) else {
        panic!("{case} cannot be set up")
    };
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| run().expect("the case fits"));
}

fn run(bencher: Bencher, case: &Case, pass: Pass) {
    let Ok(Subject::Operation { run, ones }) = Subject::new(case, &Device::Cpu, DType::F32) else {
        panic!("{case} cannot be set up")
    };
    let (forward, backward) = case.work().expect("an operation");
    let step = || run().expect("the case fits");
    let back = |node: Node| node.backward(&ones).expect("a gradient");
    match (pass, forward, backward) {
        (Pass::Forward, Work::Flops(n), _) => bencher.counter(ItemsCount::new(n)).bench_local(step),
        (Pass::Forward, Work::Bytes(n), _) => bencher.counter(BytesCount::new(n)).bench_local(step),
        (Pass::Backward, _, Work::Flops(n)) => {
            bencher.counter(ItemsCount::new(n)).with_inputs(step).bench_local_values(back);
        }
        (Pass::Backward, _, Work::Bytes(n)) => {
            bencher.counter(BytesCount::new(n)).with_inputs(step).bench_local_values(back);
        }
    }
}
