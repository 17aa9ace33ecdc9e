//! The OpenAPI document, made from the handlers and their types, and a page that shows it.

use std::sync::LazyLock;

use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::view::{
    ChangesView, ClusterStateView, ClustersView, DeviceStateView, ErrorView, LineView, ReportView,
    ResetView,
};
use super::workers::WorkersView;
use super::{changes, collect, docs, known, reset};
use crate::reload::Difference;
use crate::server::accept;
use crate::server::error::{Problem, get_only};
use crate::server::id_schema::IdSchema;
use crate::server::page;
use crate::server::tree::TreeView;

/// The document.
#[derive(OpenApi)]
#[openapi(
    modifiers(&TokenSecurity),
    security((), ("token" = [])),
    info(
        title = "fleetcall",
        description = "A roll call for clusters: asks every node and switch at once, and gives one \
                       ordered answer in time. `GET /test` is the contract of the servers that \
                       this replaced; everything newer is under `/v1`.",
    ),
    paths(
        collect::report, collect::collect, collect::collect_cluster, collect::collect_node,
        collect::collect_switch, known::clusters, known::cluster, known::node, known::switch,
        changes::changes, known::workers, reset::reset_node, reset::reset_switch,
        crate::server::routes::supervision::get, crate::server::routes::reload::post,
    ),
    components(schemas(
        ReportView<'static>, LineView<'static>, ClustersView, ClusterStateView<'static>,
        DeviceStateView<'static>, ChangesView<'static>, ErrorView, IdSchema, Problem, TreeView,
        Difference, WorkersView, ResetView,
    )),
)]
pub(in crate::server) struct Document;

/// Tokens, where there are some.
struct TokenSecurity;

impl utoipa::Modify for TokenSecurity {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    /// The same for all threads. Of the crate's own types, so it always has a JSON form.
    static JSON: LazyLock<String> =
        LazyLock::new(|| Document::openapi().to_pretty_json().unwrap_or_default());
    let json = web::Bytes::from_static(JSON.as_bytes());
    let get = move |request: HttpRequest| {
        let json = json.clone();
        async move {
            accept::json(&request)?;
            let mut response = HttpResponse::Ok();
            Ok::<_, Problem>(response.content_type("application/json").body(json))
        }
    };
    config.service(
        web::resource("/openapi.json")
            .route(web::get().to(get.clone()))
            .route(web::head().to(get))
            .default_service(web::to(get_only)),
    );
    config.service(
        web::resource("/docs/")
            .wrap(Compress::default())
            .route(web::get().to(docs))
            .route(web::head().to(docs))
            .default_service(web::to(get_only)),
    );
}

/// The document for people; it is the same as long as the process lives.
async fn docs(request: HttpRequest) -> HttpResponse {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        // Of the crate's own types, so it always has a JSON form.
        docs::page(&serde_json::to_value(Document::openapi()).unwrap_or_default())
    });
    page::html(&request, &PAGE)
}
