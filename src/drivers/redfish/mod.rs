//! The `redfish` driver: asks a server's management controller (DMTF DSP0266) how the server is.
//!
//! Here is the way through the service: root, systems, managers, chassis and their parts.
//! [`service`] holds the limits, [`session`] logs in and out, [`turn`] has one do so at a time, [`report`] knows what an answer says. It
//! changes nothing on a controller but its own session.

#[cfg(fuzzing)]
pub(super) mod fuzz;
mod report;
mod service;
mod session;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Allow, Facts, LookupError, RedfishSettings, WebAuth};
use crate::drivers::Call;
use crate::drivers::facts::FactSheet;
use crate::net::web::Web;
use report::{RedfishReport, ReportPart, link};
use service::{RedfishService, Resource};
use session::{Login, RedfishSession};
pub(crate) use session::{end_all, sessions_left};

/// A group of management controllers.
#[derive(Debug)]
pub(crate) struct Redfish {
    /// Knows no password if there is a login.
    web: Arc<Web>,
    /// What a session begins with; without it each request is for itself.
    login: Option<Login>,
}

impl Redfish {
    pub(super) fn new(
        settings: RedfishSettings,
        timeout: Duration,
        allow: Option<Arc<Allow>>,
    ) -> Self {
        let RedfishSettings { mut web, session } = settings;
        let login = match web.auth.take() {
            Some(WebAuth::Basic { username, password }) if session => {
                Some(Login { username, password })
            }
            other => {
                web.auth = other;
                None
            }
        };
        let web = Arc::new(Web::new(web, timeout, allow));
        Self { web, login }
    }

    /// If this is dropped, at whatever point, its session ends all the same.
    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let mut service = RedfishService::new(&self.web, call)?;
        // Without a session yet: the root says where to begin one.
        let root = service.root().await?;
        let facts = match &self.login {
            None => survey(&mut service, &root).await,
            Some(login) => {
                let session = RedfishSession::open(&self.web, &service, login, &root).await?;
                service.show(session.header());
                session.ask(survey(&mut service, &root)).await
            }
        };
        facts.map(Facts::from)
    }
}

/// Reads all that the service has of what we know.
async fn survey(
    service: &mut RedfishService<'_>,
    root: &Resource,
) -> Result<FactSheet, LookupError> {
    let mut report = RedfishReport::default();
    for system in service.members(root, "Systems").await? {
        if let Some(system) = service.get(&system).await? {
            report.system(&system);
        }
    }
    for manager in service.members(root, "Managers").await? {
        if let Some(manager) = service.get(&manager).await? {
            report.manager(&manager);
        }
    }
    for chassis in service.members(root, "Chassis").await? {
        let Some(chassis) = service.get(&chassis).await? else {
            continue;
        };
        report.chassis(&chassis);
        for (name, parts) in [
            ("Thermal", &ReportPart::THERMAL[..]),
            ("Power", &ReportPart::POWER[..]),
        ] {
            let Some(link) = link(&chassis, name) else {
                continue;
            };
            if let Some(resource) = service.get(link).await? {
                report.parts(&resource, parts)?;
            }
        }
    }
    Ok(report.finish())
}
