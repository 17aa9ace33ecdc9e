//! The answers to each request, as the OpenAPI document describes them.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::view::{ChangesView, LineView, ReportView, ResetView};
use super::workers::WorkersView;
use crate::reload::Difference;
use crate::server::error::Problem;
use crate::server::tree::TreeView;

fn of<T: ToSchema>(kinds: &[&str]) -> BTreeMap<String, Content> {
    let schema = || RefOr::Ref(Ref::from_schema_name(T::name()));
    let content = |kind: &&str| {
        let content = ContentBuilder::new().schema(Some(schema())).build();
        ((*kind).to_owned(), content)
    };
    kinds.iter().map(content).collect()
}

fn response(what: &str, content: BTreeMap<String, Content>) -> RefOr<Response> {
    let builder = ResponseBuilder::new().description(what);
    let builder = content
        .into_iter()
        .fold(builder, |builder, (kind, content)| {
            builder.content(kind, content)
        });
    RefOr::T(builder.build())
}

fn problem(what: &str) -> RefOr<Response> {
    response(what, of::<Problem>(&["application/problem+json"]))
}

type Responses = BTreeMap<String, RefOr<Response>>;

/// What any request may be answered with.
fn common() -> Responses {
    let problems = [
        ("400", "a parameter or a header is not understood"),
        ("401", "no token, or a wrong one"),
        (
            "403",
            "the token does not allow this, or a page of another origin asks",
        ),
        ("405", "another method is meant"),
        ("406", "none of the forms that the request accepts"),
        ("408", "the request took too long to be sent"),
        ("413", "the request has a body that is too large"),
        ("414", "the URL is too long"),
        ("415", "the request has a body, which nothing here takes"),
        ("421", "this service is not called as the request says"),
        (
            "429",
            "too many requests, more at once than this client's share, or a device was asked by force a \
             moment ago; `Retry-After` says when to come again",
        ),
        ("431", "the headers are too large"),
        (
            "503",
            "overloaded or shutting down; `Retry-After` says when to come again",
        ),
    ];
    problems
        .into_iter()
        .map(|(status, what)| (status.to_owned(), problem(what)))
        .collect()
}

fn with(responses: impl IntoIterator<Item = (&'static str, RefOr<Response>)>) -> Responses {
    let mut all = common();
    all.extend(
        responses
            .into_iter()
            .map(|(status, it)| (status.to_owned(), it)),
    );
    all
}

/// The answers to a request for a roll call.
pub(super) struct RollCallResponses;

impl IntoResponses for RollCallResponses {
    fn responses() -> Responses {
        let mut content = of::<ReportView<'_>>(&["application/json"]);
        content.extend(of::<LineView<'_>>(&[
            "application/x-ndjson",
            "text/event-stream",
        ]));
        let mut partial = of::<ReportView<'_>>(&["application/json"]);
        partial.extend(of::<Problem>(&["application/problem+json"]));
        with([
            (
                "200",
                response("a roll call, complete also if devices failed", content),
            ),
            unchanged(),
            (
                "404",
                problem("no device is meant, or a part of a filter matches nothing"),
            ),
            (
                "503",
                response(
                    "overloaded, shutting down, or a device failed and `strict` is set",
                    partial,
                ),
            ),
        ])
    }
}

/// As [`RollCallResponses`], for a reader that may be an `EventSource`.
pub(super) struct ReportResponses;

impl IntoResponses for ReportResponses {
    fn responses() -> Responses {
        let mut responses = RollCallResponses::responses();
        let text = "the roll call of this `EventSource` is over";
        responses.insert("204".to_owned(), response(text, BTreeMap::new()));
        responses
    }
}

/// The answers to a request for what is known.
pub(super) struct KnownResponses<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for KnownResponses<T> {
    fn responses() -> Responses {
        with([
            unchanged(),
            (
                "200",
                response("what is known", of::<T>(&["application/json"])),
            ),
            ("404", problem("there is no such cluster or device")),
        ])
    }
}

/// The answer to a request that names what it has, and has it still.
fn unchanged() -> (&'static str, RefOr<Response>) {
    let text = "it is as the request's `If-None-Match` says";
    ("304", response(text, BTreeMap::new()))
}

/// The answers to a request for the workers.
pub(super) struct WorkersResponses;

impl IntoResponses for WorkersResponses {
    fn responses() -> Responses {
        with([
            unchanged(),
            (
                "200",
                response(
                    "the workers, and who has each cluster",
                    of::<WorkersView>(&["application/json"]),
                ),
            ),
            ("404", problem("the fleet is not shared")),
        ])
    }
}

/// The answers to a request for changes.
pub(super) struct ChangesResponses;

impl IntoResponses for ChangesResponses {
    fn responses() -> Responses {
        with([
            unchanged(),
            (
                "200",
                response(
                    "the changes, oldest first",
                    of::<ChangesView<'_>>(&["application/json"]),
                ),
            ),
            (
                "410",
                problem("some of the changes are not known any more, or `since` is of the future"),
            ),
        ])
    }
}

/// The answers to a request to reload.
pub(in crate::server) struct ReloadResponses;

impl IntoResponses for ReloadResponses {
    fn responses() -> Responses {
        with([
            (
                "200",
                response("what changed", of::<Difference>(&["application/json"])),
            ),
            ("409", problem("another reload is under way")),
            (
                "422",
                problem("the configuration is bad; all its faults are listed"),
            ),
            ("500", problem("the reload failed")),
        ])
    }
}

/// The answers to a request to reset a device.
pub(super) struct ResetResponses;

impl IntoResponses for ResetResponses {
    fn responses() -> Responses {
        with([
            (
                "200",
                response("what was cleared", of::<ResetView>(&["application/json"])),
            ),
            ("404", problem("there is no such device")),
            (
                "503",
                problem("the worker that has its cluster cannot be asked"),
            ),
        ])
    }
}

/// The answers to a request for the supervision tree.
pub(in crate::server) struct TreeResponses;

impl IntoResponses for TreeResponses {
    fn responses() -> Responses {
        with([(
            "200",
            response("the tree", of::<TreeView>(&["application/json"])),
        )])
    }
}
