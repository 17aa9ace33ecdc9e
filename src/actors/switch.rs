//! The actor of one switch.

use actix::prelude::*;

use super::context::ShellContext;
use super::drill::Point;
use super::messages::{ChildPath, Probe, Withdraw};
use super::probe::{Device, Prober};
use super::shell::Supervised;

/// Asks one switch, one lookup at a time. A panic in the lookup is this actor's: it runs inside it.
#[derive(Debug)]
pub(super) struct SwitchActor {
    prober: Prober,
}

impl Actor for SwitchActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, _: &mut ShellContext<Self>) {
        self.prober.device.pass(Point::DeviceStarted);
    }
}

impl Supervised for SwitchActor {
    type Spec = Device;
    const ROLE: &'static str = "switch";

    fn new(spec: &Device) -> Self {
        Self {
            prober: Prober::new(spec.clone()),
        }
    }

    fn path(spec: &Device) -> ChildPath {
        spec.path()
    }
}

impl Handler<Probe> for SwitchActor {
    type Result = ();

    fn handle(&mut self, Probe(reply): Probe, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.ask(reply) {
            let lookup = lookup.into_actor(self);
            let lookup = lookup.map(|outcome, this, _| this.prober.finished(&outcome));
            self.prober.started(ctx.spawn(lookup));
        }
    }
}

impl Handler<Withdraw> for SwitchActor {
    type Result = ();

    fn handle(&mut self, withdraw: Withdraw, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.withdraw(&withdraw) {
            ctx.cancel_future(lookup);
        }
    }
}
