//! The status page at `/`: HTML, style and scripts as they stand beside this file, embedded.
//!
//! They are public and hold nothing of the fleet but whether others share it: what the page shows it asks `/v1` for, with the
//! token of whoever looks at it. It does not know what they do; `app.js` is where that begins.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ETag, EntityTag};
use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, guard, web};
use xxhash_rust::xxh3::xxh3_128;

use super::error::{get_only, not_found};
use super::state::ServerState;
use super::tag::is_known;

/// What a browser lets the page do: run its own scripts, wear its own style and ask its own
/// service. Nothing inline, nothing from elsewhere, and no text becomes markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
#[derive(Debug)]
struct Asset {
    /// Its name under `/assets/`.
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const INDEX: Asset = Asset {
    name: "index.html",
    content_type: HTML,
    text: include_str!("index.html"),
};

/// [`INDEX`] where several processes share the fleet. That the page asks nothing that is not there,
/// as a browser would call that an error.
static SHARED: LazyLock<String> =
    LazyLock::new(|| INDEX.text.replacen("<body>", "<body data-shared>", 1));

macro_rules! assets {
    ($($name:literal: $content_type:ident),+ $(,)?) => {
        [$(Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!($name),
        }),+]
    };
}

/// Everything that [`INDEX`] asks for, and the style of the page of the OpenAPI document.
const ASSETS: [Asset; 16] = assets![
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "cells.js": SCRIPT,
    "details.js": SCRIPT,
    "docs.css": CSS,
    "facts.js": SCRIPT,
    "fleet.js": SCRIPT,
    "format.js": SCRIPT,
    "icon.svg": SVG,
    "link.js": SCRIPT,
    "panels.js": SCRIPT,
    "rollcall.js": SCRIPT,
    "marks.css": CSS,
    "style.css": CSS,
    "token.js": SCRIPT,
    "workers.js": SCRIPT,
];

pub(super) fn configure(config: &mut web::ServiceConfig) {
    let read = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    for (path, route) in [
        ("/", read().to(index)),
        ("/assets/{name}", read().to(asset)),
    ] {
        config.service(
            web::resource(path)
                .wrap(Compress::default())
                .route(route)
                .default_service(web::to(get_only)),
        );
    }
}

async fn index(request: HttpRequest, state: web::Data<ServerState>) -> HttpResponse {
    let text = match state.workers {
        Some(_) => SHARED.as_str(),
        None => INDEX.text,
    };
    answer(&request, INDEX.content_type, text)
}

async fn asset(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    match ASSETS.iter().find(|it| it.name == *name) {
        Some(asset) => answer(&request, asset.content_type, asset.text),
        None => not_found().await,
    }
}

/// A page that asks for nothing but what [`INDEX`] asks for.
pub(super) fn html(request: &HttpRequest, text: &'static str) -> HttpResponse {
    answer(request, HTML, text)
}

fn answer(request: &HttpRequest, content_type: &'static str, text: &'static str) -> HttpResponse {
    let etag = EntityTag::new_strong(format!("{:032x}", xxh3_128(text.as_bytes())));
    let is_known = is_known(request, &etag);
    let mut response = HttpResponse::Ok();
    response
        .insert_header(ETag(etag))
        // Asked for each time, so that the files of two versions never meet.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
    if is_known {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type(content_type).body(text)
}
