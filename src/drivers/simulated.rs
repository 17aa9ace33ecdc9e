//! The simulated driver: waits, and fails, hangs or panics by chance or by script.
//!
//! Nothing it does depends on the clock or on what was asked before: the n-th lookup of a device
//! draws the same latency and the same fault in every run with the same seed, whatever the other
//! devices do and however often actors are restarted in between.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::call::Call;
use crate::domain::{Behaviour, Facts, FaultKind, LookupError, SimulatedSettings, Step};

/// A group of simulated devices.
#[derive(Debug)]
pub(crate) struct Simulated {
    settings: SimulatedSettings,
}

/// What each draw is for, so that they are independent of each other.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Jitter,
    Fault,
}

impl Simulated {
    pub(super) fn new(settings: SimulatedSettings) -> Self {
        Self { settings }
    }

    /// Waits, then does what the script or the dice say; or hangs until the call's deadline.
    pub(super) fn lookup(
        &self,
        call: Call<'_>,
    ) -> impl Future<Output = Result<Facts, LookupError>> + use<> {
        let step = self.step(call);
        let latency = self.latency(call);
        // What the future needs and no more: there may be a million at a time.
        let Call {
            number,
            deadline,
            timeout,
            ..
        } = call;
        async move {
            if step == Step::Hang {
                tokio::time::sleep_until(deadline).await;
                return Err(LookupError::TimedOut(timeout));
            }
            if !latency.is_zero() {
                let end = Instant::now() + latency;
                tokio::time::sleep_until(end.min(deadline)).await;
                if end > deadline {
                    return Err(LookupError::TimedOut(timeout));
                }
            }
            match step {
                Step::Ok | Step::Hang => Ok(Facts::default()),
                Step::Fail(FaultKind::Failed) => Err(LookupError::Simulated),
                Step::Fail(kind) => Err(LookupError::SimulatedAs(kind)),
                Step::Panic => panic!("simulated panic in lookup {number}"),
            }
        }
    }

    fn step(&self, call: Call<'_>) -> Step {
        match &self.settings.behaviour {
            Behaviour::Script(steps) => steps[call.number as usize % steps.len()],
            Behaviour::Random(rates) => {
                if rates.fail + rates.hang + rates.panic == 0.0 {
                    return Step::Ok;
                }
                let dice = self.draw(call, Purpose::Fault);
                if dice < rates.fail {
                    Step::Fail(FaultKind::Failed)
                } else if dice < rates.fail + rates.hang {
                    Step::Hang
                } else if dice < rates.fail + rates.hang + rates.panic {
                    Step::Panic
                } else {
                    Step::Ok
                }
            }
        }
    }

    fn latency(&self, call: Call<'_>) -> Duration {
        let SimulatedSettings {
            latency, jitter, ..
        } = self.settings;
        if jitter.is_zero() {
            return latency;
        }
        let spread = (jitter * 2).mul_f64(self.draw(call, Purpose::Jitter));
        (latency + spread).saturating_sub(jitter)
    }

    /// A number from 0 (included) to 1 (excluded) that this call always draws for this purpose.
    fn draw(&self, call: Call<'_>, purpose: Purpose) -> f64 {
        let mut identity = String::with_capacity(64);
        // Writing to a String cannot fail; `/` stands in no id, so no two calls look alike.
        let Call {
            cluster,
            kind,
            device,
            number,
            ..
        } = call;
        write!(identity, "{cluster}/{kind}/{device}/{number}/{purpose:?}").ok();
        let hash = xxh3_64_with_seed(identity.as_bytes(), self.settings.seed);
        // The upper 53 bits: as many as an f64 holds exactly.
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits fit in an f64's mantissa"
        )]
        let upper = (hash >> 11) as f64;
        upper / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeviceKind, FaultRates, Id};

    fn simulated(behaviour: Behaviour, seed: u64) -> Simulated {
        let latency = Duration::from_millis(100);
        Simulated::new(SimulatedSettings {
            latency,
            jitter: latency * 2,
            seed,
            behaviour,
        })
    }

    fn steps(simulated: &Simulated, device: u64, count: u32) -> Vec<Step> {
        let (cluster, device) = (Id::number(1), Id::number(device));
        let kind = DeviceKind::Node;
        let call = |number| Call {
            cluster: &cluster,
            kind,
            device: &device,
            port: None,
            number,
            deadline: Instant::now(),
            timeout: Duration::ZERO,
        };
        (0..count)
            .map(|number| simulated.step(call(number)))
            .collect()
    }

    #[test]
    fn a_script_repeats_in_order() {
        let script = vec![Step::Ok, Step::Panic, Step::Hang];
        let simulated = simulated(Behaviour::Script(script.clone()), 0);
        assert_eq!(steps(&simulated, 1, 6), [script.clone(), script].concat());
    }

    #[test]
    fn the_seed_decides_and_the_rates_are_kept() {
        let rates = Behaviour::Random(FaultRates {
            fail: 0.2,
            hang: 0.1,
            panic: 0.05,
        });
        let first = steps(&simulated(rates.clone(), 1), 1, 20_000);
        assert_eq!(first, steps(&simulated(rates.clone(), 1), 1, 20_000));
        assert_ne!(first, steps(&simulated(rates.clone(), 2), 1, 20_000));
        assert_ne!(first, steps(&simulated(rates, 1), 2, 20_000));
        for (step, rate) in [
            (Step::Fail(FaultKind::Failed), 0.2),
            (Step::Hang, 0.1),
            (Step::Panic, 0.05),
        ] {
            let found = first.iter().filter(|&&found| found == step).count() as f64 / 20_000.0;
            assert!((found - rate).abs() < 0.01, "{step:?}: {found}");
        }
    }

    #[test]
    fn latency_spreads_by_the_jitter_and_is_never_negative() {
        let simulated = simulated(Behaviour::Script(vec![Step::Ok]), 7);
        let (cluster, device) = (Id::number(1), Id::number(1));
        let latencies: Vec<Duration> = (0..1000)
            .map(|number| {
                let kind = DeviceKind::Switch;
                simulated.latency(Call {
                    cluster: &cluster,
                    kind,
                    device: &device,
                    port: None,
                    number,
                    deadline: Instant::now(),
                    timeout: Duration::ZERO,
                })
            })
            .collect();
        assert!(
            latencies
                .iter()
                .all(|&latency| latency <= Duration::from_millis(300))
        );
        assert!(latencies.contains(&Duration::ZERO), "below zero is cut");
        assert!(
            latencies
                .iter()
                .any(|&latency| latency > Duration::from_millis(250))
        );
    }
}
