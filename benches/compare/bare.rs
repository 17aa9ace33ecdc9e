//! What this program is as a process of its own: the least that the work can cost.

use std::time::{Duration, Instant};

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, ETAG,
};
use actix_web::{App, HttpResponse, HttpServer, web};
use clap::ValueEnum;
use procfs::process::Process;
use xxhash_rust::xxh3::xxh3_128;

use crate::answer::Work;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Job {
    /// Answers with the same bytes as fleetcall, without asking anybody
    Serve,
    /// Waits for as many timers as there are devices, each in a task, and says what that took
    Timers,
}

/// Takes its work from the environment, as the peers do.
pub(crate) fn run(job: Job) {
    let of = |name: &str| -> usize { std::env::var(name).unwrap().parse().unwrap() };
    let work = Work {
        clusters: of("CLUSTERS"),
        nodes: of("NODES"),
        switches: of("SWITCHES"),
        latency: Duration::from_millis(of("SLEEP_MS") as u64),
    };
    match job {
        Job::Serve => serve(u16::try_from(of("PORT")).unwrap(), work),
        Job::Timers => timers(work),
    }
}

/// actix-web as it is installed: a thread a core.
fn serve(port: u16, work: Work) {
    let body = web::Bytes::from(work.text());
    let etag = format!("\"{:032x}\"", xxh3_128(&body));
    let devices = work.devices();
    actix_web::rt::System::new()
        .block_on(async {
            HttpServer::new(move || {
                let (body, etag) = (body.clone(), etag.clone());
                App::new().route(
                    "/test",
                    web::get().to(move || {
                        let response = response(&etag, devices, body.clone());
                        std::future::ready(response)
                    }),
                )
            })
            .bind(("127.0.0.1", port))
            .unwrap()
            .run()
            .await
        })
        .unwrap();
}

/// With fleetcall's headers; that they are the same is checked.
fn response(etag: &str, devices: usize, body: web::Bytes) -> HttpResponse {
    let mut response = HttpResponse::Ok()
        .insert_header((ETAG, etag))
        .insert_header(("X-Resource-Count", devices))
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, PUT, DELETE, OPTIONS"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "1000"))
        .insert_header((
            ACCESS_CONTROL_ALLOW_HEADERS,
            "CONTENT-TYPE, Access-Control-Allow-Origin, cache-control, Cache-Control, x-access-token",
        ))
        .insert_header((ACCESS_CONTROL_EXPOSE_HEADERS, "X-Resource-Count"))
        .body(body);
    response.head_mut().set_camel_case_headers(true);
    response
}

/// What waiting for timers took, in a process of its own.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Waited {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_kib: u64,
}

/// On a runtime of one thread, as each of fleetcall's arbiters has one.
fn timers(work: Work) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let this = Process::myself().unwrap();
    let ran = || {
        // The system counts up to when a thread last made room for another.
        std::thread::sleep(Duration::from_millis(1));
        this.schedstat().unwrap().sum_exec_runtime
    };
    let before = ran();
    let start = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..work.devices())
            .map(|_| tokio::spawn(tokio::time::sleep(work.latency)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let cpu = ran() - before;
    let waited = Waited {
        seconds,
        cpu_seconds: cpu as f64 / 1e9,
        peak_kib: this.status().unwrap().vmhwm.unwrap(),
    };
    println!("{}", serde_json::to_string(&waited).unwrap());
}
