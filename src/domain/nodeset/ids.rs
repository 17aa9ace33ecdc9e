//! From a set to its ids.

use super::matcher::Matcher;
use super::pattern::Pattern;
use super::set::NodeSet;
use crate::domain::DeviceId;

impl NodeSet {
    /// Every id in the order written. Ask [`NodeSet::len`] first.
    ///
    /// # Errors
    /// If an element is no id, or takes nothing away.
    pub fn ids(&self) -> Result<Vec<DeviceId>, String> {
        let mut ids = Vec::new();
        let mut away = Matcher::new(self, |takes_away| takes_away)?;
        for (place, term) in self.terms.iter().enumerate() {
            if term.takes_away {
                continue;
            }
            let expanded = Pattern::expand(&term.pattern.parts, &mut String::new(), &mut |text| {
                if away.is_empty() || !away.look_text(text).is_removed_after(place) {
                    ids.push(DeviceId::parse(text)?);
                }
                Ok(())
            });
            expanded.map_err(|error| error.to_string())?;
        }
        match away.unmet().first() {
            Some((text, _)) => Err(format!("\"!{text}\" takes nothing away")),
            None => Ok(ids),
        }
    }
}
