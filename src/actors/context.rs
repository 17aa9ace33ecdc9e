//! The context that supervised actors get: what actix's `Context` offers, without its mailbox.
//!
//! actix keeps an actor's mailbox inside the future that runs it and gives it out to nobody, so a
//! message that is queued when the actor fails waits until it is restarted. Here the shell owns the
//! mailbox ([`super::shell`]) and answers at once. What runs inside the actor is the shell's too:
//! the context only takes orders, which the shell carries out after each call of actor code.

use std::pin::Pin;

use actix::WeakAddr;
use actix::dev::{Envelope, ToEnvelope};
use actix::prelude::*;

/// A future that runs inside an actor.
pub(super) type Item<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// The context of an actor that runs in a supervision shell.
pub(crate) struct ShellContext<A: Actor<Context = Self>> {
    /// Weak, since an actor's own address would keep it alive after its parent has gone.
    addr: WeakAddr<A>,
    state: ActorState,
    last_handle: SpawnHandle,
    orders: Vec<Order<A>>,
}

/// What actor code asked of its context.
pub(super) enum Order<A: Actor> {
    /// Run this beside the mailbox.
    Spawn(SpawnHandle, Item<A>),
    /// Run this before anything else goes on.
    Wait(Item<A>),
    /// Drop what was spawned under this handle.
    Cancel(SpawnHandle),
}

impl<A: Actor<Context = Self>> ShellContext<A> {
    pub(super) fn new(addr: WeakAddr<A>) -> Self {
        Self {
            addr,
            state: ActorState::Started,
            last_handle: SpawnHandle::default(),
            orders: Vec::new(),
        }
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    pub(super) fn take_orders(&mut self) -> Vec<Order<A>> {
        std::mem::take(&mut self.orders)
    }

    pub(super) fn set_state(&mut self, state: ActorState) {
        self.state = state;
    }
}

impl<A: Actor<Context = Self>> std::fmt::Debug for ShellContext<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShellContext")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Self>> ActorContext for ShellContext<A> {
    fn stop(&mut self) {
        if self.state != ActorState::Stopped {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for ShellContext<A> {
    /// A strong address of this actor; whoever keeps it keeps the actor running.
    #[expect(
        clippy::expect_used,
        reason = "the shell that runs this code holds the receiver"
    )]
    fn address(&self) -> Addr<A> {
        self.addr
            .upgrade()
            .expect("an actor that runs has a mailbox")
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.last_handle = self.last_handle.next();
        self.orders
            .push(Order::Spawn(self.last_handle, Box::pin(future)));
        self.last_handle
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.orders.push(Order::Wait(Box::pin(future)));
    }

    fn waiting(&self) -> bool {
        matches!(self.state, ActorState::Stopping | ActorState::Stopped)
            || self
                .orders
                .iter()
                .any(|order| matches!(order, Order::Wait(_)))
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.orders.push(Order::Cancel(handle));
        true
    }
}

impl<A, M> ToEnvelope<A, M> for ShellContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<tokio::sync::oneshot::Sender<M::Result>>) -> Envelope<A> {
        Envelope::new(message, reply)
    }
}
