//! Cases on all cores: in batches, each of a seed of its own, so that one that fails can be repeated alone.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::generate::{self, Case};

/// Cases of a seed.
const BATCH: usize = 64;

/// How many cases are asked for; none asks for few.
pub(crate) fn asked() -> Option<usize> {
    std::env::var("PROPTEST_CASES").ok().map(|cases| cases.parse().unwrap())
}

/// The seed that is asked for, or one made up.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("PROPTEST_RNG_SEED").ok().map(|seed| seed.parse().unwrap());
    asked.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

/// Runs `test` on as many cases, with their numbers; what it adds up is of a batch, and handed to `add` when that is done.
///
/// Panics with the smallest case found that fails, and with what repeats it. Which cases there are goes with the seed
/// alone, and not with the number of cores.
pub(crate) fn run<T: Default>(
    cases: usize,
    seed: u64,
    test: impl Fn(usize, Case, &mut T) -> Result<(), TestCaseError> + Sync,
    add: impl FnMut(T) + Send,
) {
    let (next, failed, done) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    let failure = Mutex::new(None);
    let add = Mutex::new(add);
    let began = Instant::now();
    let work = || {
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= cases || failed.load(Ordering::Relaxed) {
                return;
            }
            let size = BATCH.min(cases - first);
            // Far apart, so that two seeds have no batch in common.
            let own_seed = seed.wrapping_add(((first / BATCH) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            match batch(first, size, own_seed, &test) {
                Ok(sum) => (add.lock().unwrap())(sum),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    let repeat = format!("PROPTEST_RNG_SEED={own_seed} PROPTEST_CASES={BATCH} repeats it");
                    failure.lock().unwrap().get_or_insert(format!("{repeat}: {error}"));
                }
            }
            let before = done.fetch_add(size, Ordering::Relaxed);
            let tenth = |done: usize| done * 10 / cases;
            if cases >= 10_000 && tenth(before) < tenth(before + size) {
                println!("{} of {cases} cases in {} s", before + size, began.elapsed().as_secs());
            }
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    if let Some(failure) = failure.into_inner().unwrap() {
        panic!("{failure}");
    }
    assert_eq!(done.into_inner(), cases, "each case was run");
}

fn batch<T: Default>(
    first: usize,
    size: usize,
    seed: u64,
    test: &impl Fn(usize, Case, &mut T) -> Result<(), TestCaseError>,
) -> Result<T, String> {
    let config = Config { cases: u32::try_from(size).unwrap(), failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let sum = RefCell::new((first, T::default()));
    let outcome = runner.run(&generate::case(), |case| {
        let (number, sum) = &mut *sum.borrow_mut();
        *number += 1;
        test(*number - 1, case, sum)
    });
    outcome.map(|()| sum.into_inner().1).map_err(|error| error.to_string())
}
