//! The context that supervised actors get: what actix's `Context` offers, without its mailbox.
//!
//! actix keeps an actor's mailbox inside the future that runs it and gives it out to nobody, so a
//! message that is queued when the actor fails waits until it is restarted. Here the shell owns the
//! mailbox ([`super::shell`]) and answers at once. What the actor spawned is kept here and polled
//! by the shell. There may be a million of these, mostly with one lookup or none under way, so the
//! first item has a place of its own, and all else is in a box.

use std::pin::Pin;

use actix::WeakAddr;
use actix::dev::{Envelope, ToEnvelope};
use actix::prelude::*;

/// A future that runs inside an actor.
pub(crate) type Item<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// The context of an actor that runs in a supervision shell.
pub(crate) struct ShellContext<A: Actor<Context = Self>> {
    /// Weak, since an actor's own address would keep it alive after its parent has gone.
    addr: WeakAddr<A>,
    state: ActorState,
    /// Whether the item that is being polled was cancelled meanwhile.
    is_cancelled: bool,
    last_handle: SpawnHandle,
    /// What is being polled, and so in nobody's place; the default is nothing.
    polled: SpawnHandle,
    first: Slot<A>,
    rest: Option<Box<Overflow<A>>>,
}

/// Where something runs beside the mailbox, or nothing any more.
type Slot<A> = Option<(SpawnHandle, Item<A>)>;

/// What most actors never have.
struct Overflow<A: Actor> {
    /// What runs beside the mailbox, but for the first.
    places: Vec<Slot<A>>,
    /// What it waits for before anything else goes on; the newest last.
    waits: Vec<Item<A>>,
}

impl<A: Actor<Context = Self>> ShellContext<A> {
    pub(crate) fn new(addr: WeakAddr<A>) -> Self {
        Self {
            addr,
            state: ActorState::Started,
            is_cancelled: false,
            last_handle: SpawnHandle::default(),
            polled: SpawnHandle::default(),
            first: None,
            rest: None,
        }
    }

    pub(crate) fn set_state(&mut self, state: ActorState) {
        self.state = state;
    }

    fn rest(&mut self) -> &mut Overflow<A> {
        self.rest.get_or_insert_with(|| {
            Box::new(Overflow {
                places: Vec::new(),
                waits: Vec::new(),
            })
        })
    }

    fn place(&mut self, place: usize) -> Option<&mut Slot<A>> {
        match place.checked_sub(1) {
            None => Some(&mut self.first),
            Some(place) => self.rest.as_mut()?.places.get_mut(place),
        }
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        1 + self.rest.as_ref().map_or(0, |rest| rest.places.len())
    }

    /// Takes out what is in a place, to poll it; it has to be put back.
    pub(crate) fn take(&mut self, place: usize) -> Option<(SpawnHandle, Item<A>)> {
        let (handle, item) = self.place(place)?.take()?;
        (self.polled, self.is_cancelled) = (handle, false);
        Some((handle, item))
    }

    /// Puts back what is not done, unless it was cancelled while it was polled.
    pub(crate) fn put_back(&mut self, place: usize, (handle, item): (SpawnHandle, Item<A>)) {
        self.polled = SpawnHandle::default();
        if self.is_cancelled {
            return;
        }
        if let Some(place) = self.place(place) {
            *place = Some((handle, item));
        }
    }

    /// Forgets the places that are empty, but for the first.
    pub(crate) fn tidy(&mut self) {
        self.polled = SpawnHandle::default();
        if let Some(rest) = &mut self.rest {
            rest.places.retain(Option::is_some);
        }
    }

    /// The newest of what it waits for.
    pub(crate) fn take_wait(&mut self) -> Option<Item<A>> {
        self.rest.as_mut()?.waits.pop()
    }

    /// Goes on waiting for what was taken.
    pub(crate) fn put_back_wait(&mut self, wait: Item<A>) {
        self.rest().waits.push(wait);
    }

    /// Whether it waits for something.
    pub(crate) fn has_waits(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| !rest.waits.is_empty())
    }

    /// Takes out what runs in the actor, one after the other.
    pub(crate) fn take_any(&mut self) -> Option<Item<A>> {
        if let Some((_, item)) = self.first.take() {
            return Some(item);
        }
        let rest = self.rest.as_mut()?;
        if let Some(wait) = rest.waits.pop() {
            return Some(wait);
        }
        std::iter::from_fn(|| rest.places.pop())
            .flatten()
            .map(|(_, item)| item)
            .next()
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
        let item: Slot<A> = Some((self.last_handle, Box::pin(future)));
        // Behind what is being polled, so that it has its first turn after that.
        if self.first.is_none() && self.polled == SpawnHandle::default() {
            self.first = item;
        } else {
            self.rest().places.push(item);
        }
        self.last_handle
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.rest().waits.push(Box::pin(future));
    }

    fn waiting(&self) -> bool {
        matches!(self.state, ActorState::Stopping | ActorState::Stopped) || self.has_waits()
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        if handle == self.polled {
            return !std::mem::replace(&mut self.is_cancelled, true);
        }
        for place in 0..self.places() {
            if let Some(place) = self.place(place)
                && place.as_ref().is_some_and(|(other, _)| *other == handle)
            {
                *place = None;
                return true;
            }
        }
        false
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
