//! What resources say, as facts. Pure: it asks nobody.
//!
//! Whatever is missing, empty or of another type than the schema's is not known; nothing here is
//! an error but a list that is too long.

use serde_json::{Map, Value};

use crate::domain::LookupError;
use crate::drivers::facts::{FactSheet, HealthFact, NotOk, Temperature, whole};

/// The most entries of all lists together.
pub(super) const MAX_ENTRIES: usize = 1_000;

/// The longest text, in characters: more than any serial number has.
const MAX_TEXT: usize = 200;

const BYTES_PER_GIB: f64 = (1_u64 << 30) as f64;

/// A kind of parts that a chassis has.
#[derive(Debug)]
pub(super) struct ReportPart {
    /// The list in which they are.
    list: &'static str,
    /// What each is called in facts.
    what: &'static str,
}

impl ReportPart {
    /// Those that `Thermal` has.
    pub(super) const THERMAL: [Self; 2] = [
        Self::new("Temperatures", "temperature"),
        Self::new("Fans", "fan"),
    ];

    /// Those that `Power` has.
    pub(super) const POWER: [Self; 2] = [
        Self::new("PowerSupplies", "power_supply"),
        Self::new("Voltages", "voltage"),
    ];

    const fn new(list: &'static str, what: &'static str) -> Self {
        Self { list, what }
    }
}

/// What has been learned so far.
#[derive(Debug, Default)]
pub(super) struct RedfishReport {
    facts: FactSheet,
    has_system: bool,
    has_chassis: bool,
    has_manager: bool,
}

impl RedfishReport {
    /// A system; what it is comes from the first one.
    pub(super) fn system(&mut self, system: &Map<String, Value>) {
        self.health(system);
        if std::mem::replace(&mut self.has_system, true) {
            return;
        }
        self.identity(system);
        let number = |summary: &str, name: &str| system.get(summary)?.get(name).cloned();
        // Controllers write 0 for what they have not been told since the last cold start.
        let memory = number("MemorySummary", "TotalSystemMemoryGiB").and_then(|it| it.as_f64());
        let memory = memory.map(|gib| gib * BYTES_PER_GIB);
        let processors = number("ProcessorSummary", "Count").and_then(|it| it.as_u64());
        let memory = memory.and_then(|bytes| whole(bytes.round()));
        self.facts.memory_total_bytes = memory.filter(|bytes| *bytes > 0);
        self.facts.processors = processors.filter(|count| *count > 0);
        self.facts.bios_version = word(system, "BiosVersion");
    }

    /// A manager; its firmware is the first one's.
    pub(super) fn manager(&mut self, manager: &Map<String, Value>) {
        self.health(manager);
        if !std::mem::replace(&mut self.has_manager, true) {
            self.facts.firmware_version = word(manager, "FirmwareVersion");
        }
    }

    /// A chassis; the first one says what it is if no system does, as with an enclosure or a rack's
    /// power unit. It comes after all systems.
    pub(super) fn chassis(&mut self, chassis: &Map<String, Value>) {
        self.health(chassis);
        if !std::mem::replace(&mut self.has_chassis, true) && !self.has_system {
            self.identity(chassis);
        }
    }

    /// All from one resource, so that no model stands beside another one's serial number.
    fn identity(&mut self, of: &Map<String, Value>) {
        self.facts.power_state = text(of, "PowerState").and_then(power_state);
        self.facts.model = word(of, "Model");
        self.facts.serial = word(of, "SerialNumber");
        self.facts.manufacturer = word(of, "Manufacturer");
    }

    /// What has no roll-up speaks for itself alone.
    fn health(&mut self, of: &Map<String, Value>) {
        let status = of.get("Status").filter(|status| !is_absent(status));
        // The second name is a misspelling of the first one that is about.
        let all = ["Health", "HealthRollup", "HealthRollUp"];
        let worst = all.iter().filter_map(|name| health(status?.get(name)?));
        self.facts.health = self.facts.health.max(worst.max());
    }

    /// The thermometers, fans and so on of one resource.
    pub(super) fn parts(
        &mut self,
        resource: &Map<String, Value>,
        parts: &[ReportPart],
    ) -> Result<(), LookupError> {
        for ReportPart { list, what } in parts {
            let entries = resource.get(*list).and_then(Value::as_array);
            for entry in entries.into_iter().flatten().filter_map(Value::as_object) {
                self.part(entry, what);
            }
        }
        let length = |list: Option<usize>| list.unwrap_or_default();
        let temperatures = length(self.facts.temperatures.as_ref().map(Vec::len));
        if temperatures + length(self.facts.not_ok.as_ref().map(Vec::len)) > MAX_ENTRIES {
            return Err(LookupError::Protocol(format!(
                "it has more than {MAX_ENTRIES} sensors and parts that are not well"
            )));
        }
        Ok(())
    }

    fn part(&mut self, part: &Map<String, Value>, what: &'static str) {
        let status = part.get("Status");
        // An empty bay is not ill, whatever stands there.
        if status.is_some_and(is_absent) {
            return;
        }
        let name = ["Name", "FanName", "MemberId"];
        let name = name.iter().find_map(|name| word(part, name));
        let name = name.unwrap_or_default();
        let health = status.and_then(|status| health(status.get("Health")?));
        if what == "temperature" {
            let list = self.facts.temperatures.get_or_insert_default();
            if let Some(celsius) = part.get("ReadingCelsius").and_then(Value::as_f64) {
                list.push(Temperature {
                    name: name.clone(),
                    celsius,
                    health,
                });
            }
        }
        let Some(health) = health else {
            return;
        };
        let list = self.facts.not_ok.get_or_insert_default();
        if health > HealthFact::Ok {
            list.push(NotOk { name, what, health });
        }
    }

    pub(super) fn finish(self) -> FactSheet {
        self.facts
    }
}

/// The link that stands under this name.
pub(super) fn link<'a>(of: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    of.get(name)?.get("@odata.id")?.as_str()
}

/// The text that stands under this name.
pub(super) fn text<'a>(of: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str()
}

/// As [`text`], for a fact.
fn word(of: &Map<String, Value>, name: &str) -> Option<String> {
    let text = text(of, name)?.trim();
    (!text.is_empty()).then(|| text.chars().take(MAX_TEXT).collect())
}

fn power_state(text: &str) -> Option<&'static str> {
    match text {
        "On" => Some("on"),
        "Off" => Some("off"),
        "PoweringOn" => Some("powering_on"),
        "PoweringOff" => Some("powering_off"),
        "Paused" => Some("paused"),
        _ => None,
    }
}

fn health(value: &Value) -> Option<HealthFact> {
    match value.as_str()? {
        "OK" => Some(HealthFact::Ok),
        "Warning" => Some(HealthFact::Warning),
        "Critical" => Some(HealthFact::Critical),
        _ => None,
    }
}

fn is_absent(status: &Value) -> bool {
    status.get("State").and_then(Value::as_str) == Some("Absent")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("no object: {other}"),
        }
    }

    /// Resources with the names that matter, and anything at all under them.
    fn resource() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,9}|OK|Warning|Critical|Absent|On|Off".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("Status"),
            Just("Health"),
            Just("HealthRollup"),
            Just("State"),
            Just("Name"),
            Just("Model"),
            Just("PowerState"),
            Just("MemorySummary"),
            Just("TotalSystemMemoryGiB"),
            Just("ProcessorSummary"),
            Just("Count"),
            Just("Temperatures"),
            Just("ReadingCelsius"),
            Just("Fans"),
        ];
        let name = name.prop_map(str::to_owned).boxed();
        let members = name.clone();
        let value = leaf.prop_recursive(4, 64, 6, move |inner| {
            let object = prop::collection::vec((members.clone(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                object.prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        });
        prop::collection::vec((name, value), 0..9).prop_map(|it| it.into_iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_that_resources_say_makes_it_panic_or_claim_a_zero(
            resources in prop::collection::vec(resource(), 0..5),
        ) {
            let mut report = RedfishReport::default();
            for resource in &resources {
                report.system(resource);
                report.manager(resource);
                report.chassis(resource);
                report.parts(resource, &ReportPart::THERMAL).unwrap();
                report.parts(resource, &ReportPart::POWER).unwrap();
            }
            let facts = report.finish();
            prop_assert!(facts.memory_total_bytes.is_none_or(|it| it > 0));
            prop_assert!(facts.processors.is_none_or(|count| count > 0));
            prop_assert!(facts.not_ok.iter().flatten().all(|it| it.health > HealthFact::Ok));
        }

        #[test]
        fn health_is_the_worst_whatever_comes_first(
            all in prop::collection::vec(0_usize..3, 1..9),
        ) {
            let words = ["OK", "Warning", "Critical"];
            let mut report = RedfishReport::default();
            for it in &all {
                report.chassis(&object(json!({"Status": {"HealthRollup": words[*it]}})));
            }
            let worst = [HealthFact::Ok, HealthFact::Warning, HealthFact::Critical][*all.iter().max().unwrap()];
            prop_assert_eq!(report.finish().health, Some(worst));
        }
    }

    #[test]
    fn a_text_has_an_end() {
        let mut report = RedfishReport::default();
        report.system(&object(json!({"Model": "é".repeat(5_000)})));
        let model = report.finish().model.unwrap();
        assert_eq!(model.chars().count(), MAX_TEXT);
    }
}
