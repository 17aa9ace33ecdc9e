//! A worker inside of the test's process, whose threads can be made to go wrong.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fleetcall::app::{App, Options};
use fleetcall::config::Config;
use fleetcall::engine::watchdog::WatchdogSettings;
use fleetcall::nats::{Distributed, NEWEST_SCHEMA, NatsSettings, Worker};
use fleetcall::supervision::failpoints::Failpoints;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// As `main` does it, on a thread of its own. Gone when dropped, as one that is killed.
pub struct Inside {
    blocks: Option<UnboundedSender<Receiver<()>>>,
    running: Option<JoinHandle<()>>,
}

/// What is blocked goes on when it is dropped.
pub struct Blocked(#[expect(dead_code, reason = "it is dropped")] Sender<()>);

impl Inside {
    /// A worker with such a lease, whose threads are called stuck after half a second.
    pub fn worker(
        url: &str,
        config: &str,
        name: &str,
        lease: Duration,
        failpoints: &Arc<Failpoints>,
    ) -> Self {
        let config = Config::parse(Path::new("test"), config).unwrap();
        let options = Options {
            port: 0,
            failpoints: Some(Arc::clone(failpoints)),
            watchdog: WatchdogSettings {
                every: Duration::from_millis(50),
                deadline: Duration::from_millis(500),
            },
            distributed: Some(Distributed {
                nats: NatsSettings {
                    url: url.to_owned(),
                    ..NatsSettings::default()
                },
                prefix: "fleetcall".to_owned(),
                schema: NEWEST_SCHEMA,
                worker: Some(Worker {
                    name: name.to_owned(),
                    lease,
                }),
            }),
            ..Options::default()
        };
        let (blocks, mut to_block) = unbounded_channel::<Receiver<()>>();
        let running = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = App::start(config, options).await.unwrap();
                let never = std::future::pending::<()>;
                let told = async {
                    while let Some(block) = to_block.recv().await {
                        // It ends when the test drops the other end.
                        block.recv().ok();
                    }
                };
                tokio::select! {
                    _ = app.run_until(never(), never()) => {}
                    () = told => {}
                }
            });
        });
        Self {
            blocks: Some(blocks),
            running: Some(running),
        }
    }

    /// Blocks the main thread, where everything runs but clusters and requests.
    pub fn block(&self) -> Blocked {
        let (held, block) = channel();
        self.blocks.as_ref().unwrap().send(block).unwrap();
        Blocked(held)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.blocks = None;
        if let Some(running) = self.running.take() {
            running.join().ok();
        }
    }
}
