//! In which form an answer is wanted, by the header `Accept` (RFC 9110, section 12.5.1).

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, Header as _};

use super::error::Problem;
use super::parameters::Parameters;

/// The one of these media types that a request likes best; the first one of those that it likes alike.
///
/// # Errors
/// 406 if it accepts none of them, 400 if it cannot be told.
pub(super) fn preferred(
    request: &HttpRequest,
    available: &[&'static str],
) -> Result<&'static str, Problem> {
    let accept = if request.headers().contains_key(header::ACCEPT) {
        let accept = header::Accept::parse(request);
        accept.map_err(|_| {
            Problem::bad("`Accept` cannot be read; write media types, such as `*/*`")
        })?
    } else {
        header::Accept::star()
    };
    // The most specific range counts: one that is refused is not taken for `*/*`.
    let quality = |form: &str| {
        let ranges = accept.iter().filter_map(|range| {
            let how = match (range.item.type_().as_str(), range.item.subtype().as_str()) {
                ("*", "*") => 0,
                (kind, "*") if form.split('/').next() == Some(kind) => 1,
                (_, _) if range.item.essence_str() == form => 2,
                (_, _) => return None,
            };
            Some((how, range.quality))
        });
        let best = ranges.max_by_key(|&(how, _)| how);
        best.map_or(header::Quality::ZERO, |(_, quality)| quality)
    };
    // An empty list says nothing.
    let is_open = accept.is_empty();
    let best = available
        .iter()
        .map(|&form| {
            (
                form,
                if is_open {
                    header::Quality::MAX
                } else {
                    quality(form)
                },
            )
        })
        .filter(|(_, quality)| *quality > header::Quality::ZERO)
        .rev()
        .max_by_key(|&(_, quality)| quality);
    best.map(|(form, _)| form).ok_or_else(|| {
        let forms = match available {
            [form] => (*form).to_owned(),
            forms => format!("one of {}", forms.join(", ")),
        };
        Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("`Accept` leaves out what this is answered as: {forms}"),
        )
    })
}

/// 406 unless a request accepts JSON, where there is nothing else.
pub(super) fn json(request: &HttpRequest) -> Result<(), Problem> {
    preferred(request, &["application/json"]).map(|_| ())
}

/// Refuses what an answer in JSON without parameters cannot be asked for.
pub(super) fn plain(request: &HttpRequest) -> Result<(), Problem> {
    json(request)?;
    Parameters::read(request, &[]).map(|_| ())
}
