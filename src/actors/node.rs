//! The actor of one node.

use actix::prelude::*;

use super::context::ShellContext;
use super::drill::Point;
use super::messages::{ChildPath, Probe, Withdraw};
use super::probe::{Device, Prober};
use super::shell::Supervised;

/// Asks one node, one lookup at a time. A panic in the lookup is this actor's: it runs inside it.
#[derive(Debug)]
pub(super) struct NodeActor {
    prober: Prober,
}

impl Actor for NodeActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, _: &mut ShellContext<Self>) {
        self.prober.device.pass(Point::DeviceStarted);
    }
}

impl Supervised for NodeActor {
    type Spec = Device;
    const ROLE: &'static str = "node";

    fn new(spec: &Device) -> Self {
        Self {
            prober: Prober::new(spec.clone()),
        }
    }

    fn path(spec: &Device) -> ChildPath {
        spec.path()
    }
}

impl Handler<Probe> for NodeActor {
    type Result = ();

    fn handle(&mut self, Probe(reply): Probe, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.ask(reply) {
            let lookup = lookup.into_actor(self);
            let lookup = lookup.map(|outcome, this, _| this.prober.finished(&outcome));
            self.prober.started(ctx.spawn(lookup));
        }
    }
}

impl Handler<Withdraw> for NodeActor {
    type Result = ();

    fn handle(&mut self, withdraw: Withdraw, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.withdraw(&withdraw) {
            ctx.cancel_future(lookup);
        }
    }
}
