//! The actor of one device.

use std::future::Future;
use std::sync::Arc;

use actix::prelude::*;

use super::probe::Prober;
use crate::engine::device::{Asked, Device};
use crate::engine::messages::{CutOff, Probe, Tick};
use crate::supervision::context::ShellContext;
use crate::supervision::failpoints::Failpoint;
use crate::supervision::shell::{BuildError, Supervised};

/// Asks one node or switch, one lookup at a time. A panic in the lookup is this actor's: it runs inside it.
#[derive(Debug)]
pub(crate) struct DeviceActor {
    prober: Prober,
}

impl Actor for DeviceActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, ctx: &mut ShellContext<Self>) {
        if self.prober.pass(Failpoint::Started) {
            ctx.stop();
        }
    }

    fn stopping(&mut self, _: &mut ShellContext<Self>) -> Running {
        self.prober.pass(Failpoint::Stopping);
        self.prober.ending();
        Running::Stop
    }
}

impl Supervised for DeviceActor {
    type Spec = Device;

    fn new(spec: &Arc<Device>) -> Result<Self, BuildError> {
        let prober = Prober::new(spec)?;
        Ok(Self { prober })
    }
}

impl DeviceActor {
    /// Runs a lookup inside this actor, so that its panic is this actor's.
    fn begin(
        &mut self,
        lookup: impl Future<Output = Asked> + 'static,
        scheduled: bool,
        ctx: &mut ShellContext<Self>,
    ) {
        let lookup = lookup.into_actor(self);
        let lookup = lookup.map(|asked, this, ctx: &mut ShellContext<Self>| {
            if let Some(lookup) = this.prober.finished(asked) {
                this.begin(lookup, false, ctx);
            }
        });
        self.prober.started(ctx.spawn(lookup), scheduled);
    }
}

impl Handler<Probe> for DeviceActor {
    type Result = ();

    fn handle(&mut self, Probe(port): Probe, ctx: &mut ShellContext<Self>) {
        if self.prober.pass(Failpoint::Handler) {
            ctx.stop();
            return;
        }
        if let Some(lookup) = self.prober.overdue(&port) {
            ctx.cancel_future(lookup);
        }
        if let Some(lookup) = self.prober.ask(port) {
            self.begin(lookup, false, ctx);
        }
    }
}

impl Handler<Tick> for DeviceActor {
    type Result = ();

    fn handle(&mut self, tick: Tick, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.tick(tick) {
            self.begin(lookup, true, ctx);
        }
    }
}

impl Handler<CutOff> for DeviceActor {
    type Result = ();

    fn handle(&mut self, _: CutOff, ctx: &mut ShellContext<Self>) {
        if let Some(lookup) = self.prober.cut_off() {
            ctx.cancel_future(lookup);
        }
    }
}
