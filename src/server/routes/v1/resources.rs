//! The paths of `/v1`, and the handler of each.

use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{changes, collect, known, reset};
use crate::server::error::{get_only, method_not_allowed};

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    let read = |path: &str, get: actix_web::Route, head: actix_web::Route| {
        web::resource(path)
            .wrap(Compress::default())
            .route(get)
            .route(head)
            .default_service(web::to(get_only))
    };
    let ask = |path: &str, post: actix_web::Route| {
        web::resource(path)
            .wrap(Compress::default())
            .route(post)
            .default_service(web::to(post_only))
    };
    macro_rules! get {
        ($path:expr, $handler:path) => {
            config.service(read(
                $path,
                web::get().to($handler),
                web::head().to($handler),
            ))
        };
    }
    get!("/v1/report", collect::report);
    get!("/v1/changes", changes::changes);
    get!("/v1/workers", known::workers);
    get!("/v1/clusters", known::clusters);
    get!("/v1/clusters/{cluster}", known::cluster);
    get!("/v1/clusters/{cluster}/nodes/{device}", known::node);
    get!("/v1/clusters/{cluster}/switches/{device}", known::switch);
    config.service(ask("/v1/collect", web::post().to(collect::collect)));
    config.service(ask(
        "/v1/clusters/{cluster}/collect",
        web::post().to(collect::collect_cluster),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/nodes/{device}/collect",
        web::post().to(collect::collect_node),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/switches/{device}/collect",
        web::post().to(collect::collect_switch),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/nodes/{device}/reset",
        web::post().to(reset::reset_node),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/switches/{device}/reset",
        web::post().to(reset::reset_switch),
    ));
}

async fn post_only(request: HttpRequest) -> HttpResponse {
    method_not_allowed(request.method(), "POST", "POST is")
}
