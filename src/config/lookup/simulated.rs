//! The settings of the `simulated` driver.

use std::time::Duration;

use crate::config::reader::{Node, Table};
use crate::domain::{Behaviour, FaultKind, FaultRates, SimulatedSettings, Step, did_you_mean};

pub(super) const KEYS: [&str; 5] = ["latency", "jitter", "seed", "faults", "script"];

/// More steps than anyone writes by hand; bounds what a generated file can cost.
const MAX_SCRIPT: usize = 100_000;

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct SimulatedFields {
    latency: Option<Duration>,
    jitter: Option<Duration>,
    seed: Option<u64>,
    faults: FaultFields,
    script: Option<Vec<Step>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct FaultFields {
    fail: Option<f64>,
    hang: Option<f64>,
    panic: Option<f64>,
}

impl FaultFields {
    fn or(self, outer: Self) -> Self {
        Self {
            fail: self.fail.or(outer.fail),
            hang: self.hang.or(outer.hang),
            panic: self.panic.or(outer.panic),
        }
    }

    fn is_empty(self) -> bool {
        self.fail.is_none() && self.hang.is_none() && self.panic.is_none()
    }

    fn rates(self) -> FaultRates {
        FaultRates {
            fail: self.fail.unwrap_or_default(),
            hang: self.hang.unwrap_or_default(),
            panic: self.panic.unwrap_or_default(),
        }
    }
}

impl SimulatedFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let duration = |key| {
            table
                .get(key)
                .and_then(|node| node.duration(Duration::ZERO))
        };
        let fields = Self {
            latency: duration("latency"),
            jitter: duration("jitter"),
            seed: table
                .get("seed")
                .and_then(|node| node.integer(0..=u64::MAX)),
            faults: table
                .get("faults")
                .map(|node| Self::read_faults(&node))
                .unwrap_or_default(),
            script: table
                .get("script")
                .and_then(|node| Self::read_script(&node)),
        };
        if let Some(script) = table.get("script")
            && table.get("faults").is_some()
        {
            script.fault("`script` and `faults` exclude each other; write one of them");
        }
        fields
    }

    fn read_faults(node: &Node<'_, '_>) -> FaultFields {
        let Some(table) = node.table(&["fail", "hang", "panic"]) else {
            return FaultFields::default();
        };
        let rate = |key| table.get(key).and_then(|node| node.probability());
        FaultFields {
            fail: rate("fail"),
            hang: rate("hang"),
            panic: rate("panic"),
        }
    }

    fn read_script(node: &Node<'_, '_>) -> Option<Vec<Step>> {
        let right = "write an array of \"ok\", \"fail\", \"hang\", \"panic\", or the kind of a \
                     failure such as \"refused\"";
        let nodes = node.array(right)?;
        if nodes.is_empty() {
            node.fault(format!("the script is empty; {right}"));
            return None;
        }
        if nodes.len() > MAX_SCRIPT {
            node.fault(format!(
                "the script has {} steps, at most {MAX_SCRIPT}",
                nodes.len()
            ));
            return None;
        }
        let step = |node: &Node<'_, '_>| match node.text("write \"ok\"")? {
            "ok" => Some(Step::Ok),
            "fail" => Some(Step::Fail(FaultKind::Failed)),
            "hang" => Some(Step::Hang),
            "panic" => Some(Step::Panic),
            other => {
                let kind = Step::FAULTS.into_iter().find(|kind| kind.as_str() == other);
                if kind.is_none() {
                    let steps = Step::FAULTS.iter().map(|kind| kind.as_str());
                    let steps = ["ok", "fail", "hang", "panic"].into_iter().chain(steps);
                    let hint = did_you_mean(other, steps);
                    node.fault(format!("{other:?} is no step; {right}{hint}"));
                }
                kind.map(Step::Fail)
            }
        };
        // Every bad step is reported, so no short cut at the first one.
        let steps: Vec<Option<Step>> = nodes.iter().map(step).collect();
        steps.into_iter().collect()
    }

    /// These fields, and those of `outer` where they are silent. A script and probabilities
    /// exclude each other, so either hides what is inherited of the other.
    pub(super) fn or(self, outer: &Self) -> Self {
        let inherit_script = self.script.is_none() && self.faults.is_empty();
        let inherit_faults = self.script.is_none();
        Self {
            latency: self.latency.or(outer.latency),
            jitter: self.jitter.or(outer.jitter),
            seed: self.seed.or(outer.seed),
            faults: if inherit_faults {
                self.faults.or(outer.faults)
            } else {
                self.faults
            },
            script: if inherit_script {
                outer.script.clone()
            } else {
                self.script
            },
        }
    }

    /// Notes what contradicts itself with what is inherited, if `own` had a part in it.
    pub(super) fn check(&self, own: &Self, node: &Node<'_, '_>) {
        let FaultRates { fail, hang, panic } = self.faults.rates();
        if !own.faults.is_empty() && fail + hang + panic > 1.0 {
            node.fault(format!(
                "the probabilities of `faults`, with those inherited, are fail = {fail}, hang = \
                 {hang} and panic = {panic}; together they can be at most 1"
            ));
        }
    }

    /// The settings with the defaults of what nobody wrote.
    pub(super) fn resolve(&self) -> SimulatedSettings {
        let behaviour = match &self.script {
            Some(script) => Behaviour::Script(script.clone()),
            None => Behaviour::Random(self.faults.rates()),
        };
        SimulatedSettings {
            latency: self.latency.unwrap_or(Duration::from_secs(3)),
            jitter: self.jitter.unwrap_or_default(),
            seed: self.seed.unwrap_or_default(),
            behaviour,
        }
    }
}
