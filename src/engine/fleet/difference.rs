//! What a reload changes.

/// What a reload came to, in numbers; the names are those of the log line and of `/v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// Clusters that were not there before.
    pub clusters_added: usize,
    /// Clusters that are not there any more.
    pub clusters_removed: usize,
    /// Devices that were not there before.
    pub devices_added: usize,
    /// Devices that are not there any more.
    pub devices_removed: usize,
    /// Devices that are asked in another way: each has a new actor.
    pub devices_changed: usize,
    /// Devices that are asked as before: each keeps its actor, breaker and last result.
    pub devices_kept: usize,
    /// Whether settings changed that are not those of a device.
    pub settings_changed: bool,
    /// Which: keys of the configuration, such as `collect.deadline` or `http.tokens`.
    pub changed_settings: Vec<&'static str>,
}

impl Difference {
    /// Takes note of settings that changed.
    pub(crate) fn note_settings(&mut self, changed: impl IntoIterator<Item = &'static str>) {
        self.changed_settings.extend(changed);
        self.settings_changed = !self.changed_settings.is_empty();
    }
}
